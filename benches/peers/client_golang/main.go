// Serves the series of a classic exposition with client_golang, like an exporter that uses it: one vector per family, set
// from the values in the file, gathered and encoded at each scrape.
//
//	client_golang ADDRESS FILE
package main

import (
	"log"
	"net"
	"net/http"
	"os"
	"sort"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

func main() {
	file, err := os.Open(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	var parser expfmt.TextParser
	families, err := parser.TextToMetricFamilies(file)
	if err != nil {
		log.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	for name, family := range families {
		if family.GetType() == dto.MetricType_HISTOGRAM || len(family.Metric) == 0 {
			continue
		}
		var names []string
		for _, pair := range family.Metric[0].Label {
			names = append(names, pair.GetName())
		}
		sort.Strings(names)
		values := func(metric *dto.Metric) prometheus.Labels {
			labels := prometheus.Labels{}
			for _, pair := range metric.Label {
				labels[pair.GetName()] = pair.GetValue()
			}
			return labels
		}
		if family.GetType() == dto.MetricType_COUNTER {
			vector := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: family.GetHelp()}, names)
			registry.MustRegister(vector)
			for _, metric := range family.Metric {
				vector.With(values(metric)).Add(metric.Counter.GetValue())
			}
		} else {
			vector := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: family.GetHelp()}, names)
			registry.MustRegister(vector)
			for _, metric := range family.Metric {
				vector.With(values(metric)).Set(metric.Gauge.GetValue())
			}
		}
	}
	families = nil
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	os.Stdout.WriteString(listener.Addr().String() + "\n")
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	log.Fatal(http.Serve(listener, nil))
}
