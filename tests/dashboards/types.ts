// What a dashboard of ours may be: Grafana's own types, made strict for the panels that we use.
//
// @grafana/schema leaves a panel's `options` and `custom` open in its type of a dashboard, and has types for each panel beside
// it; here they come together, so that a wrong option of a certain panel is an error.
import type {
  AnnotationQuery, Dashboard as GrafanaDashboard, DataSourceRef, FieldConfig, MatcherConfig, Panel, RowPanel, VariableModel,
} from '@grafana/schema/dist/esm/raw/dashboard/x/Dashboard_types.gen';
import type * as Heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as StateTimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/** A type as JSON writes it: an enum of strings is one of its strings. */
type Json<T> = T extends string ? `${T}`
  : T extends readonly (infer Item)[] ? Json<Item>[]
  : T extends object ? { [Key in keyof T]: Json<T[Key]> }
  : T;

/** A link of a cell or a series. The schema has no type for it. */
interface DataLink { title: string; url: string; targetBlank: boolean }

type StandardOptions = Json<Pick<FieldConfig, 'unit' | 'decimals' | 'min' | 'max' | 'color' | 'mappings' | 'thresholds' | 'noValue'>>
  & { links?: DataLink[] };

/** One thing that an override changes. */
type Property<Custom> =
  | { [Key in keyof StandardOptions]-?: { id: Key; value: NonNullable<StandardOptions[Key]> } }[keyof StandardOptions]
  | { [Key in keyof Custom & string]-?: { id: `custom.${Key}`; value: NonNullable<Custom[Key]> } }[keyof Custom & string];

interface FieldConfigOf<Custom> {
  defaults: StandardOptions & { custom?: Partial<Custom> };
  overrides: {
    matcher: Omit<MatcherConfig, 'id' | 'options'> & { id: 'byName' | 'byRegexp'; options: string };
    properties: Property<Custom>[];
  }[];
}

/** A query to Prometheus. Not in the schema: after Grafana's documentation of its Prometheus data source. */
interface PrometheusQuery {
  refId: string;
  datasource: DataSourceRef;
  expr: string;
  editorMode: 'code' | 'builder';
  format: 'time_series' | 'table' | 'heatmap';
  instant: boolean;
  range: boolean;
  legendFormat: string;
}

/** The transformations that we use. Not in the schema. */
type Transformation =
  | { id: 'merge'; options: Record<string, never> }
  | {
    id: 'organize';
    options: {
      excludeByName: Record<string, boolean>;
      includeByName: Record<string, boolean>;
      indexByName: Record<string, number>;
      renameByName: Record<string, string>;
    };
  };

type PanelOf<Type extends string, Options, Custom> =
  & Json<Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets' | 'transformations'>>
  & Required<Json<Pick<Panel, 'id' | 'title' | 'description' | 'gridPos' | 'datasource'>>>
  & {
    type: Type;
    options: Json<Options>;
    fieldConfig: FieldConfigOf<Json<Custom>>;
    targets: PrometheusQuery[];
    transformations?: Transformation[];
  };

export type PanelOfOurs =
  | PanelOf<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>
  | PanelOf<'stat', Stat.Options, Record<never, never>>
  | PanelOf<'table', Table.Options, Table.FieldConfig>
  | PanelOf<'state-timeline', StateTimeline.Options, StateTimeline.FieldConfig>
  | PanelOf<'heatmap', Heatmap.Options, Heatmap.FieldConfig>;

/** An annotation. What it asks Prometheus is not in the schema. */
type Annotation = Json<AnnotationQuery> | Json<AnnotationQuery> & {
  expr: string;
  step: string;
  tagKeys: string;
  textFormat: string;
  titleFormat: string;
  useValueForTime: boolean;
};

type Variable =
  & Json<Omit<VariableModel, 'query'>>
  & { query: string | { qryType: 1 | 3; query: string; refId: 'PrometheusVariableQueryEditor-VariableQuery' } };

export type Dashboard =
  & Json<Omit<GrafanaDashboard, 'panels' | 'annotations' | 'templating'>>
  & Required<Json<Pick<GrafanaDashboard, 'uid' | 'title' | 'description' | 'tags' | 'links'>>>
  & {
    panels: (PanelOfOurs | Json<RowPanel>)[];
    annotations: { list: Annotation[] };
    templating: { list: Variable[] };
  };
