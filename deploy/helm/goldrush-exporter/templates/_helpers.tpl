{{- define "goldrush-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* 52 characters: a StatefulSet's pods and their revision label must fit into 63. */}}
{{- define "goldrush-exporter.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "goldrush-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end }}

{{/* Immutable in a Deployment and a StatefulSet. */}}
{{- define "goldrush-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "goldrush-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of objects. Pods do not get those that change with each chart version. */}}
{{- define "goldrush-exporter.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- merge $own (include "goldrush-exporter.selectorLabels" . | fromYaml) .Values.commonLabels | toYaml -}}
{{- end }}

{{- define "goldrush-exporter.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- if $registry }}{{ $registry }}/{{ end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end -}}
{{- end }}

{{- define "goldrush-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "goldrush-exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* The shipped alerts find the exporter's targets by "goldrush" in the label `job`. */}}
{{- define "goldrush-exporter.job" -}}
{{- $name := include "goldrush-exporter.fullname" . -}}
{{- include "goldrush-exporter.namespace" . }}/{{ ternary $name (printf "%s-goldrush" $name) (contains "goldrush" $name) -}}
{{- end }}

{{/* The exporter's configuration file. */}}
{{- define "goldrush-exporter.configuration" -}}
{{- $accounts := list -}}
{{- range .Values.accounts -}}
{{- $settings := omit . "existingSecret" "key" "remoteRef" "serviceKey" -}}
{{- $accounts = append $accounts (set $settings "service_key_file" (printf "/run/secrets/goldrush/%s" .name)) -}}
{{- end -}}
{{- merge (dict "accounts" $accounts) .Values.config | toYaml -}}
{{- end }}

{{- define "goldrush-exporter.volumes" -}}
- name: configuration
  configMap:
    name: {{ include "goldrush-exporter.fullname" . }}
# A changed Secret reaches the files within about a minute, and the exporter reads them again. Any user may read the files,
# because the cluster may choose the pod's user; only this pod's containers have them.
- name: service-keys
  projected:
    defaultMode: 0444
    sources:
      {{- range .Values.accounts }}
      - secret:
          {{- if .existingSecret }}
          name: {{ .existingSecret }}
          items:
            - key: {{ default "service-key" .key | quote }}
          {{- else }}
          name: {{ include "goldrush-exporter.fullname" $ }}-{{ ternary "external" "service" (hasKey . "remoteRef") }}-keys
          items:
            - key: {{ .name | quote }}
          {{- end }}
              path: {{ .name | quote }}
      {{- end }}
{{- if .Values.webConfig.existingSecret }}
- name: web-config
  secret:
    secretName: {{ .Values.webConfig.existingSecret }}
    defaultMode: 0444
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "goldrush-exporter.volumeMounts" -}}
- name: configuration
  mountPath: /etc/goldrush-exporter
  readOnly: true
- name: service-keys
  mountPath: /run/secrets/goldrush
  readOnly: true
{{- if .Values.webConfig.existingSecret }}
- name: web-config
  mountPath: /run/secrets/web
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* How the exporter's program runs, the same in its pods and in the test. */}}
{{- define "goldrush-exporter.container" -}}
image: {{ include "goldrush-exporter.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "goldrush-exporter.volumeMounts" . | nindent 2 }}
{{- end }}

{{/* What the pods and the test's pod have in common. */}}
{{- define "goldrush-exporter.podSpec" -}}
serviceAccountName: {{ include "goldrush-exporter.serviceAccountName" . }}
automountServiceAccountToken: false
# The variables of a Service named goldrush-exporter look like settings.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  {{- include "goldrush-exporter.volumes" . | nindent 2 }}
{{- end }}

{{/* Endpoint of a ServiceMonitor or PodMonitor. */}}
{{- define "goldrush-exporter.endpoint" -}}
{{- $monitor := index . 1 -}}
{{- with index . 0 -}}
port: metrics
interval: {{ $monitor.interval }}
scrapeTimeout: {{ $monitor.scrapeTimeout }}
{{- include "goldrush-exporter.scrape" (list . $monitor .Values.webConfig.scheme) }}
{{- end }}
{{- end }}

{{/* The part of a scrape that all monitors spell alike. The scheme is written only if it is not the default. */}}
{{- define "goldrush-exporter.scrape" -}}
{{- $root := index . 0 -}}
{{- $monitor := index . 1 -}}
{{- with index . 2 }}
{{- if ne . "http" }}
scheme: {{ . }}
{{- end }}
{{- end }}
{{- with $monitor.tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $monitor.basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
relabelings:
  - targetLabel: job
    replacement: {{ include "goldrush-exporter.job" $root }}
  {{- with $monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Metadata of an object that may be in another namespace and have further labels. */}}
{{- define "goldrush-exporter.metadata" -}}
{{- $own := index . 1 -}}
{{- with index . 0 -}}
namespace: {{ default (include "goldrush-exporter.namespace" .) $own.namespace }}
labels:
  {{- merge (deepCopy (default dict $own.labels)) (include "goldrush-exporter.labels" . | fromYaml) | toYaml | nindent 2 }}
{{- with $own.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* A file of rules, without the alerts that are left out and the groups that nothing is left of. */}}
{{- define "goldrush-exporter.rules" -}}
{{- $disabled := default dict (index . 0).Values.prometheusRule.disabled -}}
{{- $groups := list -}}
{{- range ((index . 0).Files.Get (index . 1) | fromYaml).groups -}}
  {{- $rules := list -}}
  {{- range .rules -}}
    {{- if not (and .alert (get $disabled .alert)) }}{{ $rules = append $rules . }}{{ end -}}
  {{- end -}}
  {{- if $rules }}{{ $groups = append $groups (set . "rules" $rules) }}{{ end -}}
{{- end -}}
{{- dict "groups" $groups | toYaml -}}
{{- end }}

{{/* What the schema cannot refuse, or refuses without saying what to do. */}}
{{- define "goldrush-exporter.validate" -}}
{{- $names := list -}}
{{- range .Values.accounts -}}
  {{- if has .name $names -}}
    {{- fail (printf "accounts: duplicate account name %q" .name) -}}
  {{- end -}}
  {{- $names = append $names .name -}}
  {{- if and (hasKey . "serviceKey") (not $.Values.allowServiceKeysInValues) -}}
    {{- fail (printf "accounts: %q has a serviceKey in the values, which Helm stores in the release: use existingSecret, or set allowServiceKeysInValues" .name) -}}
  {{- end -}}
  {{- if and (hasKey . "remoteRef") (not $.Values.externalSecrets.secretStoreRef) -}}
    {{- fail (printf "accounts: %q has a remoteRef, which needs externalSecrets.secretStoreRef" .name) -}}
  {{- end -}}
{{- end -}}
{{- $monitors := list -}}
{{- range list "serviceMonitor" "podMonitor" "scrapeConfig" -}}
  {{- if (index $.Values .).enabled }}{{ $monitors = append $monitors . }}{{ end -}}
{{- end -}}
{{- if gt (len $monitors) 1 -}}
  {{- fail (printf "%s are enabled, and each would scrape everything: enable one of them" (join " and " $monitors)) -}}
{{- end -}}
{{- if and .Values.prometheusRule.slo.enabled (not .Values.prometheusRule.enabled) -}}
  {{- fail "prometheusRule.slo is enabled, but prometheusRule is not: enable both" -}}
{{- end -}}
{{- if and (gt (int .Values.shards) 1) (semverCompare "<1.28.0-0" .Capabilities.KubeVersion.Version) -}}
  {{- fail (printf "shards: more than one needs Kubernetes 1.28 or newer, which labels a pod with its index; this is %s" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end }}
