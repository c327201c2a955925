package wire

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the goldens anew")

// messages holds every type that crosses a process, by the name of its golden.
// TestEveryTypeHasAGolden sees that none is forgotten.
var messages = map[string]any{
	"launch_request":  &LaunchRequest{},
	"preferences":     &Preferences{},
	"launch_response": &LaunchResponse{},
	"candidate":       &Candidate{},
	"ice_server":      &ICEServer{},
	"ticket_renewal":  &TicketRenewal{},
	"session_view":    &SessionView{},
	"session_list":    &SessionList{},
	"measured":        &Measured{},
	"page_measured":   &PageMeasured{},
	"quality":         &Quality{},
	"apps_response":   &AppsResponse{},
	"app_view":        &AppView{},
	"person_token":    &PersonToken{},
	"sites_response":  &SitesResponse{},
	"site_view":       &SiteView{},
	"distance":        &Distance{},
	"probe_request":   &ProbeRequest{},
	"probe_response":  &ProbeResponse{},
	"network":         &Network{},
	"problem":         &Problem{},

	"app":         &App{},
	"app_login":   &AppLogin{},
	"param":       &Param{},
	"capacity":    &Capacity{},
	"site_info":   &SiteInfo{},
	"instance":    &Instance{},
	"site_facts":  &SiteFacts{},
	"health":      &Health{},
	"used_ticket": &UsedTicket{},
	"launch_key":  &LaunchKey{},
	"api_key":     &APIKey{},
	"seat":        &Seat{},
	"node":        &Node{},
	"waiting":     &Waiting{},
	"event":       &Event{},
	"event_data":  &EventData{},

	"webhook":        &Webhook{},
	"webhook_secret": &WebhookSecret{},
	"webhook_state":  &WebhookState{},
	"webhook_test":   &WebhookTest{},
	"demand":         &Demand{},
	"app_demand":     &AppDemand{},
	"spare":          &Spare{},
	"growth":         &Growth{},
	"arrivals":       &Arrivals{},
	"lengths":        &Lengths{},
	"end":            &End{},
	"progress":       &Progress{},

	"message":        &Message{},
	"queue":          &Queue{},
	"grant":          &Grant{},
	"display":        &Display{},
	"view":           &View{},
	"memory":         &Memory{},
	"task_check":     &TaskCheck{},
	"task_verdict":   &TaskVerdict{},
	"end_request":    &EndRequest{},
	"still":          &Still{},
	"still_request":  &StillRequest{},
	"ending":         &Ending{},
	"warn_request":   &WarnRequest{},
	"retire_request": &RetireRequest{},
	"gpus":           &GPUs{},
	"leaving":        &Leaving{},
	"gpu_load":       &GPULoad{},
	"check_request":  &CheckRequest{},
	"input":          &Input{},
	"touch":          &Touch{},
	"pong":           &Pong{},
	"pointer":        &Pointer{},
	"clip":           &Clip{},
	"clip_offer":     &ClipOffer{},
	"clip_ask":       &ClipAsk{},
	"pad":            &Pad{},
	"rumble":         &Rumble{},
	"message_frame":  &MessageFrame{},

	"spec":               &Spec{},
	"mount":              &Mount{},
	"content":            &Content{},
	"manifest":           &Manifest{},
	"manifest_file":      &ManifestFile{},
	"cache":              &Cache{},
	"cell":               &Cell{},
	"cell_fingerprint":   &CellFingerprint{},
	"s3":                 &S3{},
	"video":              &Video{},
	"x_server":           &XServer{},
	"consul_ref":         &ConsulRef{},
	"listen":             &Listen{},
	"stream_host_status": &StreamHostStatus{},
	"stream_host_event":  &StreamHostEvent{},
	"stop_request":       &StopRequest{},
	"signal_request":     &SignalRequest{},
	"exit":               &Exit{},
	"fingerprint":        &Fingerprint{},

	"console_me":         &ConsoleMe{},
	"console_event":      &ConsoleEvent{},
	"console_site":       &ConsoleSite{},
	"console_app":        &ConsoleApp{},
	"console_node":       &ConsoleNode{},
	"console_session":    &ConsoleSession{},
	"console_placement":  &ConsolePlacement{},
	"console_node_order": &ConsoleNodeOrder{},
	"console_scale":      &ConsoleScale{},
	"console_revert":     &ConsoleRevert{},
	"console_publish":    &ConsolePublish{},
	"console_published":  &ConsolePublished{},
	"console_app_detail": &ConsoleAppDetail{},
	"console_version":    &ConsoleVersion{},
	"console_audit":      &ConsoleAudit{},
	"console_action":     &ConsoleAction{},
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
	byteType = reflect.TypeFor[[]byte]()
)

// fill gives every field of v a value of its own that is not zero, so that
// omitempty hides none, and none can be swapped with another unseen.
func fill(v reflect.Value, name string, n *int) {
	*n++
	switch {
	case v.Type() == timeType:
		v.Set(reflect.ValueOf(time.Date(2026, 3, 4, 5, 6, *n%60, 789_000_000, time.UTC)))
		return
	case v.Type() == rawType:
		v.SetBytes([]byte(`{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host","sdpMid":"0"}`))
		return
	case v.Type() == byteType:
		v.SetBytes([]byte("\xff\xd8" + name))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), name, n)
		fill(v.Index(1), name, n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), name, n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, name+"-key", n)
		fill(value, name, n)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(strings.ToLower(name) + "-" + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(1000 + *n))
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(1000 + *n))
	case reflect.Uint64:
		v.SetUint(1<<63 + uint64(*n)) // more than a float64 holds exactly
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.25)
	default:
		panic("fill does not know " + v.Type().String())
	}
}

func TestGolden(t *testing.T) {
	for name, message := range messages {
		t.Run(name, func(t *testing.T) {
			n := 0
			v := reflect.ValueOf(message).Elem()
			want := reflect.New(v.Type())
			fill(want.Elem(), v.Type().Name(), &n)

			got, err := json.MarshalIndent(want.Interface(), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, golden) {
				t.Errorf("the JSON of %s changed. If that is intended, and old programs that use the former JSON still work: go test -run TestGolden -update\ngot:\n%s\nwant:\n%s", v.Type(), got, golden)
			}
			back := reflect.New(v.Type())
			dec := json.NewDecoder(bytes.NewReader(golden))
			dec.DisallowUnknownFields()
			if err := dec.Decode(back.Interface()); err != nil {
				t.Fatal(err)
			}
			compact(back.Elem())
			compact(want.Elem())
			if !reflect.DeepEqual(back.Interface(), want.Interface()) {
				t.Errorf("%s does not come back as it went:\n%+v\n%+v", v.Type(), back, want)
			}
		})
	}
}

// compact evens out how a golden's indentation reaches into raw JSON.
func compact(v reflect.Value) {
	switch {
	case v.Type() == rawType:
		var b bytes.Buffer
		if json.Compact(&b, v.Bytes()) == nil {
			v.SetBytes(b.Bytes())
		}
	case v.Kind() == reflect.Struct && v.Type() != timeType:
		for i := range v.NumField() {
			compact(v.Field(i))
		}
	}
}

// TestEveryTypeHasAGolden reads this package's source for struct types.
func TestEveryTypeHasAGolden(t *testing.T) {
	have := map[string]bool{}
	for _, message := range messages {
		have[reflect.TypeOf(message).Elem().Name()] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				if _, ok := spec.Type.(*ast.StructType); ok && !have[spec.Name.Name] {
					t.Errorf("%s: %s has no golden", name, spec.Name.Name)
				}
			}
			return true
		})
	}
	goldens, _ := filepath.Glob("testdata/*.json")
	if len(goldens) != len(messages) {
		t.Errorf("%d goldens of %d messages", len(goldens), len(messages))
	}
}

// TestNames holds the names in JSON to this package's promises.
func TestNames(t *testing.T) {
	for _, message := range messages {
		typ := reflect.TypeOf(message).Elem()
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name != strings.ToLower(name) || strings.Contains(name, "-") {
				t.Errorf("%s.%s: %q is not snake_case", typ.Name(), f.Name, name)
			}
			for unit, suffix := range map[string]string{"MS": "_ms", "BPS": "_bps", "Bytes": "_bytes"} {
				if strings.HasSuffix(f.Name, unit) && !strings.HasSuffix(name, suffix) && name != strings.ToLower(unit) {
					t.Errorf("%s.%s: %q does not say its unit", typ.Name(), f.Name, name)
				}
			}
		}
	}
}
