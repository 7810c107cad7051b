// Command pyroscope-peer takes profiles as Pyroscope does, with Pyroscope's own messages, refuses
// what Pyroscope refuses, and tells what it was sent.
//
// Why not Pyroscope's server itself: its main module and some it needs are not to be had from the
// module proxy. What is: github.com/grafana/pyroscope/api, the generated code of its protocol, and
// OpenTelemetry's. The rules are those of the server's pkg/validation with its default limits; the
// pprof inside is read, and held to be valid, by Google's own package.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/google/pprof/profile"
	googlev1 "github.com/grafana/pyroscope/api/gen/proto/go/google/v1"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	"github.com/grafana/pyroscope/api/gen/proto/go/push/v1/pushv1connect"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
	collector "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	otlp "go.opentelemetry.io/proto/otlp/profiles/v1development"
	"google.golang.org/protobuf/proto"
)

const (
	mostLabels  = 30
	longestName = 1024
	longestText = 2048
	mostBytes   = 4 << 20
	mostSamples = 16000
	mostDepth   = 1000
	oldest      = time.Hour
	newest      = 10 * time.Minute
)

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// series is what was sent under one set of labels: values by stack, outermost function first.
type series struct {
	Labels  map[string]string `json:"labels"`
	OrgID   string            `json:"org_id"`
	Type    string            `json:"type"`
	Stacks  map[string]int64  `json:"stacks"`
	Pushes  int               `json:"pushes"`
	Sampled int64             `json:"samples"`
}

type store struct {
	sync.Mutex
	series map[string]*series
}

func (s *store) add(labels map[string]string, org, kind string, stacks map[string]int64, count int64) {
	s.Lock()
	defer s.Unlock()
	key := fmt.Sprint(org, kind, labels)
	one := s.series[key]
	if one == nil {
		one = &series{Labels: labels, OrgID: org, Type: kind, Stacks: map[string]int64{}}
		s.series[key] = one
	}
	one.Pushes++
	one.Sampled += count
	for stack, value := range stacks {
		one.Stacks[stack] += value
	}
}

// query answers with every series that has all the labels asked for.
func (s *store) query(answer http.ResponseWriter, request *http.Request) {
	s.Lock()
	defer s.Unlock()
	found := []*series{}
	for _, one := range s.series {
		fits := true
		for name, values := range request.URL.Query() {
			fits = fits && one.Labels[name] == values[0]
		}
		if fits {
			found = append(found, one)
		}
	}
	sort.Slice(found, func(a, b int) bool {
		return fmt.Sprint(found[a].Labels) < fmt.Sprint(found[b].Labels)
	})
	_ = json.NewEncoder(answer).Encode(found)
}

type pusher struct {
	pushv1connect.UnimplementedPusherServiceHandler
	store *store
}

// Push takes a request of push.v1, series by series, or refuses it with the server's reasons.
func (p *pusher) Push(
	_ context.Context, request *connect.Request[pushv1.PushRequest],
) (*connect.Response[pushv1.PushResponse], error) {
	if len(request.Msg.Series) == 0 {
		return nil, refused(errors.New("no series"))
	}
	for _, one := range request.Msg.Series {
		labels, err := validLabels(one.Labels)
		if err != nil {
			return nil, refused(err)
		}
		for _, sample := range one.Samples {
			stacks, kind, count, err := validProfile(sample.RawProfile)
			if err != nil {
				return nil, refused(fmt.Errorf("%v: %w", labels, err))
			}
			p.store.add(labels, request.Header().Get("X-Scope-OrgID"), kind, stacks, count)
		}
	}
	return connect.NewResponse(&pushv1.PushResponse{}), nil
}

func refused(err error) error { return connect.NewError(connect.CodeInvalidArgument, err) }

func validLabels(pairs []*typesv1.LabelPair) (map[string]string, error) {
	labels := map[string]string{}
	if len(pairs) > mostLabels {
		return nil, fmt.Errorf("%d labels, %d at most", len(pairs), mostLabels)
	}
	for _, pair := range pairs {
		if _, twice := labels[pair.Name]; twice {
			return nil, fmt.Errorf("label %q is there twice", pair.Name)
		}
		if !labelName.MatchString(pair.Name) || len(pair.Name) > longestName {
			return nil, fmt.Errorf("bad label name %q", pair.Name)
		}
		if !utf8.ValidString(pair.Value) || len(pair.Value) > longestText {
			return nil, fmt.Errorf("bad value of label %q", pair.Name)
		}
		labels[pair.Name] = pair.Value
	}
	if !metricName.MatchString(labels["__name__"]) {
		return nil, fmt.Errorf("bad __name__ %q", labels["__name__"])
	}
	if labels["service_name"] == "" {
		return nil, errors.New("service name is not provided")
	}
	return labels, nil
}

// validProfile reads a raw profile; its stacks by name, its type id, how many samples it counts.
func validProfile(raw []byte) (map[string]int64, string, int64, error) {
	message, err := unzipped(raw)
	if err != nil {
		return nil, "", 0, err
	}
	if len(message) > mostBytes {
		return nil, "", 0, fmt.Errorf("%d bytes, %d at most", len(message), mostBytes)
	}
	var own googlev1.Profile
	if err := proto.Unmarshal(message, &own); err != nil {
		return nil, "", 0, err
	}
	if err := validMessage(&own); err != nil {
		return nil, "", 0, err
	}
	read, err := profile.ParseUncompressed(message)
	if err != nil {
		return nil, "", 0, err
	}
	if err := read.CheckValid(); err != nil {
		return nil, "", 0, err
	}
	age := time.Since(time.Unix(0, read.TimeNanos))
	if age > oldest || age < -newest {
		return nil, "", 0, fmt.Errorf("its time is %v away", age)
	}
	last := len(read.SampleType) - 1
	kind := strings.Join([]string{read.SampleType[last].Type, read.SampleType[last].Unit,
		read.PeriodType.Type, read.PeriodType.Unit}, ":")
	stacks := map[string]int64{}
	var count int64
	for _, sample := range read.Sample {
		names := []string{}
		for i := len(sample.Location) - 1; i >= 0; i-- {
			for j := len(sample.Location[i].Line) - 1; j >= 0; j-- {
				names = append(names, sample.Location[i].Line[j].Function.Name)
			}
		}
		stacks[strings.Join(names, ";")] += sample.Value[last]
		count += sample.Value[0]
	}
	return stacks, kind, count, nil
}

func validMessage(own *googlev1.Profile) error {
	if len(own.Sample) > mostSamples {
		return fmt.Errorf("%d samples, %d at most", len(own.Sample), mostSamples)
	}
	for _, sample := range own.Sample {
		if len(sample.LocationId) > mostDepth || len(sample.Label) > 0 {
			return fmt.Errorf("a sample %d deep with %d labels", len(sample.LocationId), len(sample.Label))
		}
	}
	for _, one := range own.SampleType {
		if strings.Contains(own.StringTable[one.Type], "-") {
			return errors.New("sample type contains -")
		}
	}
	for _, text := range own.StringTable {
		if !utf8.ValidString(text) {
			return errors.New("a string is not UTF-8")
		}
	}
	return nil
}

func unzipped(raw []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(reader, mostBytes+1))
}

// otlpPush takes OTLP profiles, following every index.
func (s *store) otlpPush(answer http.ResponseWriter, request *http.Request) {
	body, err := unzipped(must(io.ReadAll(request.Body)))
	var export collector.ExportProfilesServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &export)
	}
	if err == nil {
		err = s.takeOTLP(&export, request.Header.Get("X-Scope-OrgID"))
	}
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	answer.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = answer.Write(must(proto.Marshal(&collector.ExportProfilesServiceResponse{})))
}

func (s *store) takeOTLP(export *collector.ExportProfilesServiceRequest, org string) (err error) {
	defer func() {
		if wrong := recover(); wrong != nil {
			err = fmt.Errorf("an index points nowhere: %v", wrong)
		}
	}()
	book := export.Dictionary
	if book.StringTable[0] != "" || !proto.Equal(book.StackTable[0], &otlp.Stack{}) ||
		!proto.Equal(book.LocationTable[0], &otlp.Location{}) ||
		!proto.Equal(book.FunctionTable[0], &otlp.Function{}) ||
		!proto.Equal(book.MappingTable[0], &otlp.Mapping{}) ||
		!proto.Equal(book.LinkTable[0], &otlp.Link{}) ||
		!proto.Equal(book.AttributeTable[0], &otlp.KeyValueAndUnit{}) {
		return errors.New("index 0 of a table is something")
	}
	for _, resource := range export.ResourceProfiles {
		labels := map[string]string{}
		for _, pair := range resource.Resource.Attributes {
			labels[pair.Key] = pair.Value.GetStringValue()
		}
		if labels["service.name"] == "" {
			return errors.New("no service.name")
		}
		for _, scope := range resource.ScopeProfiles {
			for _, one := range scope.Profiles {
				kind, stacks, count := readOTLP(book, one)
				s.add(labels, org, kind, stacks, count)
			}
		}
	}
	return nil
}

func readOTLP(book *otlp.ProfilesDictionary, one *otlp.Profile) (string, map[string]int64, int64) {
	words := book.StringTable
	kind := words[one.SampleType.TypeStrindex] + ":" + words[one.SampleType.UnitStrindex]
	if one.PeriodType != nil {
		kind += ":" + words[one.PeriodType.TypeStrindex] + ":" + words[one.PeriodType.UnitStrindex]
	}
	stacks := map[string]int64{}
	var count int64
	for _, sample := range one.Samples {
		for _, index := range sample.AttributeIndices {
			_ = words[book.AttributeTable[index].KeyStrindex]
		}
		places := book.StackTable[sample.StackIndex].LocationIndices
		names := []string{}
		for i := len(places) - 1; i >= 0; i-- {
			place := book.LocationTable[places[i]]
			_ = words[book.MappingTable[place.MappingIndex].FilenameStrindex]
			for _, line := range place.Lines {
				names = append(names, words[book.FunctionTable[line.FunctionIndex].NameStrindex])
			}
		}
		stacks[strings.Join(names, ";")] += sample.Values[0]
		count += sample.Values[0]
	}
	return kind, stacks, count
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address, a loopback one")
	flag.Parse()
	kept := &store{series: map[string]*series{}}
	path, handler := pushv1connect.NewPusherServiceHandler(&pusher{store: kept})
	http.Handle(path, handler)
	http.HandleFunc("POST /v1development/profiles", kept.otlpPush)
	http.HandleFunc("GET /query", kept.query)
	socket, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(socket.Addr())
	go func() { // it ends with the one that started it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(http.Serve(socket, nil))
}
