package router

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// document is the OpenAPI document, loaded and checked once.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(OpenAPI)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background(), openapi3.IsOpenAPI31OrLater())
})

var documented = sync.OnceValues(func() (routers.Router, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	for _, media := range []string{"application/yaml", "text/html"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.FileBodyDecoder)
	}
	return legacy.NewRouter(doc, openapi3.IsOpenAPI31OrLater())
})

// checkDocumented checks an exchange against the document: every answer, and every
// request that was accepted. A path that is not in the document must be a 404, a
// 405 or a page's file.
func checkDocumented(t *testing.T, req *http.Request, sent []byte, res *http.Response, got []byte) {
	t.Helper()
	find, err := documented()
	if err != nil {
		t.Fatal(err)
	}
	asked := req.Clone(context.Background())
	asked.URL.Scheme, asked.URL.Host, asked.Host = "", "", ""
	asked.Body = io.NopCloser(bytes.NewReader(sent))
	if asked.Method == http.MethodHead {
		asked.Method = http.MethodGet // of the same operation, without the body
	}
	route, params, err := find.FindRoute(asked)
	if err != nil {
		page := req.Method == "GET" || req.Method == "HEAD"
		preflight := req.Method == "OPTIONS" && res.StatusCode == 204
		if res.StatusCode != 404 && res.StatusCode != 405 && !page && !preflight {
			t.Errorf("%s %s is not documented: %v", req.Method, req.URL.Path, err)
		}
		return
	}
	if res.StatusCode == 304 || res.StatusCode == 405 || res.StatusCode == 500 {
		return // of HTTP itself, and of no operation
	}
	for _, value := range params {
		if value == "" {
			return // no parameter is empty: this is another path
		}
	}
	in := &openapi3filter.RequestValidationInput{
		Request: asked, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if res.StatusCode < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			t.Errorf("%s %s was accepted, but the document does not allow it: %v", req.Method, req.URL.Path, err)
		}
	}
	in.Options.ExcludeResponseBody = req.Method == http.MethodHead
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: res.StatusCode, Header: res.Header,
		Body: io.NopCloser(bytes.NewReader(got)), Options: in.Options,
	})
	if err != nil {
		t.Errorf("%s %s: %s is not as documented: %v\n%s", req.Method, req.URL.Path, res.Status, err, got)
	}
}

// TestDocumentRefuses checks that the check above can fail at all.
func TestDocumentRefuses(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	schema := doc.Components.Schemas["LaunchRequest"].Value
	for body, want := range map[string]bool{
		`{"app":"chess"}`: true, `{"app":"chess","version":3,"rtt_ms":{"east":1.5}}`: true,
		`{"app":"chess","colour":"white"}`: false, `{"app":3}`: false, `{}`: false,
		`{"app":"chess","rtt_ms":{"east":-1}}`: false, `{"app":"chess","rtt_ms":{"east":null}}`: false,
	} {
		object, err := readValue(decoder(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.VisitJSON(object, openapi3.EnableJSONSchema2020()); (err == nil) != want {
			t.Errorf("%s: %v", body, err)
		}
	}
}

var echoParam = regexp.MustCompile(`:(\w+)`)

// TestRoutesAreDocumented checks that routes and document have the same paths.
func TestRoutesAreDocumented(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	undocumented := map[string]bool{
		"GET /*": true, "GET /favicon.ico": true, // files of pages
		"GET /v1/probes": true, "GET /v1/sessions/{id}/ticket": true, "GET /login/token": true, "GET /login/out": true, // 405
	}
	var served, written []string
	for _, route := range newRig(t).router.echo.Routes() {
		line := route.Method + " " + echoParam.ReplaceAllString(route.Path, "{$1}")
		if route.Method != http.MethodHead && !undocumented[line] {
			served = append(served, line)
		}
	}
	operations := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			written = append(written, method+" "+path)
			if op.OperationID == "" || op.Summary == "" || operations[op.OperationID] {
				t.Errorf("%s %s needs a summary and an operationId of its own", method, path)
			}
			operations[op.OperationID] = true
		}
	}
	sort.Strings(served)
	sort.Strings(written)
	if a, b := strings.Join(served, "\n"), strings.Join(written, "\n"); a != b {
		t.Errorf("served:\n%s\n\ndocumented:\n%s", a, b)
	}
}

// TestExamples checks the examples against their schemas, and examples of problems
// against the kinds of problems.
func TestExamples(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	check := func(where string, content openapi3.Content) {
		for media, m := range content {
			for name, ex := range m.Examples {
				n++
				if err := m.Schema.Value.VisitJSON(ex.Value.Value, openapi3.EnableJSONSchema2020()); err != nil {
					t.Errorf("%s, example %s: %v", where, name, err)
				}
				if p, ok := ex.Value.Value.(map[string]any); ok && media == wire.ProblemType {
					kind, _ := p["type"].(string)
					status, _ := p["status"].(float64)
					if k := kinds[kind]; k.title != p["title"] || float64(k.status) != status {
						t.Errorf("%s, example %s: %v has another title or status", where, name, p)
					}
				}
			}
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody != nil {
				check(method+" "+path, op.RequestBody.Value.Content)
			}
			for status, res := range op.Responses.Map() {
				check(method+" "+path+" "+status, res.Value.Content)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d examples", n)
	}
}

func decoder(text string) *json.Decoder {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	return dec
}

// TestEventIsDocumented compares the document's event with its golden files.
func TestEventIsDocumented(t *testing.T) {
	doc, err := document()
	testkit.Must(t, err)
	for golden, schema := range map[string]*openapi3.Schema{
		"event": doc.Components.Schemas["Event"].Value, "event_data": doc.Components.Schemas["Event"].Value.Properties["data"].Value,
		"end": doc.Components.Schemas["Event"].Value.Properties["data"].Value.Properties["end"].Value,
	} {
		text, err := os.ReadFile("../internal/wire/testdata/" + golden + ".json")
		testkit.Must(t, err)
		var fields map[string]any
		testkit.Must(t, json.Unmarshal(text, &fields))
		got, want := slices.Sorted(maps.Keys(schema.Properties)), slices.Sorted(maps.Keys(fields))
		if !slices.Equal(got, want) {
			t.Errorf("%s: the document has %q, and the golden %q", golden, got, want)
		}
	}
	var types []string
	for _, one := range doc.Components.Schemas["Event"].Value.Properties["type"].Value.Examples {
		types = append(types, one.(string))
	}
	if want := append(slices.Clone(wire.EventTypes), wire.EventTest); !slices.Equal(types, want) {
		t.Errorf("the document has the types %q, not %q", types, want)
	}
}
