// Command cadvisor-peer runs the released cAdvisor library as cAdvisor's own program does, so that
// the benchmark can stand beside it.
//
// Why not cAdvisor's own program: its main package is a module of its own
// (github.com/google/cadvisor/cmd) that is never released, as its go.mod points at the directory
// above it. Everything that costs time at run time is in the modules that are released: finding
// containers, housekeeping, the in-memory history, the Prometheus collector. This file only joins
// them, with the same plug-ins and the same defaults. What it leaves out costs nothing between two
// scrapes: the HTML pages and the JSON API, storage drivers, podman, application metrics (no
// container here declares any), and the OOM event counter, which therefore reads 0.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/cadvisor/lib/cache/memory"
	"github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/manager"
	"github.com/google/cadvisor/lib/metrics"
	"github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/stats"
	"github.com/google/cadvisor/lib/utils/sysfs"
	"github.com/google/cadvisor/perf"
	"github.com/google/cadvisor/resctrl"
	"github.com/google/cadvisor/summary"
	"github.com/google/cadvisor/utils/cpuload"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	_ "github.com/google/cadvisor/container/docker/install"
	_ "github.com/google/cadvisor/fs/devicemapper/install"
	_ "github.com/google/cadvisor/lib/container/containerd/install"
	_ "github.com/google/cadvisor/lib/container/crio/install"
	_ "github.com/google/cadvisor/lib/container/systemd/install"
	_ "github.com/google/cadvisor/lib/fs/btrfs/install"
	_ "github.com/google/cadvisor/lib/fs/nfs/install"
	_ "github.com/google/cadvisor/lib/fs/overlay/install"
	_ "github.com/google/cadvisor/lib/fs/tmpfs/install"
	_ "github.com/google/cadvisor/lib/fs/vfs/install"
	_ "github.com/google/cadvisor/lib/fs/zfs/install"
	_ "github.com/google/cadvisor/resctrl/intel/install"
)

var (
	listen = flag.String("listen", "127.0.0.1:0", "address to serve /metrics and /healthz on")
	labels = flag.Bool("store_container_labels", true, "every container label becomes a label")
	leave  = flag.Bool("stop_with_stdin", false, "end when standard input closes")
	// How long cAdvisor's program keeps each container's samples unless told otherwise.
	history = flag.Duration("storage_duration", 2*time.Minute, "how long samples are kept")
	only    = container.MetricSet{}
	// What cAdvisor's program leaves out unless told otherwise.
	offByDefault = metricSet(
		container.MemoryNumaMetrics, container.NetworkTcpUsageMetrics,
		container.NetworkUdpUsageMetrics, container.NetworkAdvancedTcpUsageMetrics,
		container.ProcessSchedulerMetrics, container.ProcessMetrics,
		container.HugetlbUsageMetrics, container.ReferencedMemoryMetrics,
		container.CPUTopologyMetrics, container.ResctrlMetrics, container.CPUSetMetrics,
	)
)

func metricSet(kinds ...container.MetricKind) container.MetricSet {
	set := container.MetricSet{}
	for _, kind := range kinds {
		set[kind] = struct{}{}
	}
	return set
}

// plugIn gives the library the parts that only cAdvisor's program gives it; the rolling summaries
// are the ones that cost CPU, at every housekeeping of every container.
func plugIn() {
	manager.SummaryReaderFactory = func(spec model.ContainerSpec) (manager.SummaryReader, error) {
		return summary.New(spec)
	}
	manager.PerfManagerFactory = perf.NewManager
	manager.CpuLoadReaderFactory = func() (manager.CpuLoadReader, error) { return cpuload.New() }
	manager.ResctrlManagerFactory = func(
		interval time.Duration, vendor string, onHost bool,
	) (stats.ResctrlManager, error) {
		return resctrl.NewManager(interval, vendor, onHost)
	}
}

// serveMetrics answers a scrape with the newest sample of every container, through a registry of
// its own, as cAdvisor's program does.
func serveMetrics(cadvisor manager.Manager, kinds container.MetricSet) http.Handler {
	name := metrics.ContainerLabelsFunc(metrics.DefaultContainerLabels)
	if !*labels {
		name = metrics.BaseContainerLabels(nil)
	}
	newest := model.RequestOptions{IdType: model.TypeName, Count: 1, Recursive: true}
	machine := metrics.NewPrometheusMachineCollector(cadvisor, kinds)
	runtime := collectors.NewGoCollector()
	process := collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		registry := prometheus.NewRegistry()
		containers := metrics.NewPrometheusCollector(cadvisor, name, kinds, clock.RealClock{}, newest)
		registry.MustRegister(containers, machine, runtime, process)
		options := promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}
		promhttp.HandlerFor(registry, options).ServeHTTP(answer, request)
	})
}

func main() {
	klog.InitFlags(nil)
	flag.Var(&only, "enable_metrics", "measure only these, comma separated; none = the defaults")
	flag.Parse()
	kinds := container.AllMetrics.Difference(offByDefault)
	if len(only) > 0 {
		kinds = only
	}
	plugIn()
	none := []string{""}
	cadvisor, err := manager.New(memory.New(*history, nil), sysfs.NewRealSysFs(),
		manager.HousekeepingConfigFlags, kinds, none, none, "", 0)
	if err != nil {
		klog.Exitf("cannot set cAdvisor up: %v", err)
	}
	if err := cadvisor.Start(); err != nil {
		klog.Exitf("cannot start cAdvisor: %v", err)
	}
	stopOnSignal(cadvisor)
	if *leave {
		go stopWithStdin()
	}

	http.Handle("/metrics", serveMetrics(cadvisor, kinds))
	http.HandleFunc("/healthz", func(answer http.ResponseWriter, _ *http.Request) {
		_, _ = answer.Write([]byte("ok"))
	})
	socket, err := net.Listen("tcp", *listen)
	if err != nil {
		klog.Exitf("cannot listen: %v", err)
	}
	// The benchmark waits for this line: the containers that ran already are known by now.
	fmt.Println(socket.Addr())
	klog.Exit(http.Serve(socket, nil))
}

func stopOnSignal(cadvisor manager.Manager) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		_ = cadvisor.Stop()
		os.Exit(0)
	}()
}

// stopWithStdin ends this process with the one that started it, however that one ended.
func stopWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
