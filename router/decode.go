package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nearcast/nearcast/internal/wire"
)

// Requests are decoded by hand, because an error must name its field by a JSON
// pointer. encoding/json accepts fields that are given twice or in another letter
// case, accepts null for any type, and gives no pointer. encoding/json/v2 would do
// most of this, but is still an experiment that needs GOEXPERIMENT=jsonv2.
// Libraries that validate against the OpenAPI document (kin-openapi, which the
// tests use) decode into maps first, where a field given twice is lost.

// maxDepth is the deepest nesting that is read; no valid request has as much.
const maxDepth = 16

// readJSON reads a request's body as one JSON object.
func readJSON(req *http.Request, w http.ResponseWriter) (map[string]any, error) {
	media, params, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, problem(wire.ProblemMediaType, "", "Send the body with Content-Type: application/json.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, wire.MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, problem(wire.ProblemTooLarge, "", "The body must have at most %d bytes.", wire.MaxBody)
	case err != nil:
		return nil, problem(wire.ProblemMalformed, "", "The body ended early.")
	case len(bytes.TrimSpace(body)) == 0:
		return nil, problem(wire.ProblemMalformed, "", "The body is empty; send a JSON object.")
	case !utf8.Valid(body):
		return nil, problem(wire.ProblemMalformed, "", "The body is not UTF-8.")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	value, err := readValue(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, problem(wire.ProblemMalformed, "", "There must be nothing after the JSON object; there is at byte %d.", dec.InputOffset())
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, problem(wire.ProblemMalformed, "", "The body must be a JSON object, not %s.", typeName(value))
	}
	return object, nil
}

// readValue reads one value.
func readValue(dec *json.Decoder) (any, error) {
	r := reader{dec: dec, path: make([]step, 0, maxDepth)}
	return r.value()
}

// reader reads values and keeps the path to the current one, for errors.
type reader struct {
	dec  *json.Decoder
	path []step
}

// step is a field of an object or an item of a list.
type step struct {
	field string
	item  int // -1 for a field
}

// at is the JSON pointer to the current value.
func (r *reader) at() string {
	at := ""
	for _, s := range r.path {
		if s.item >= 0 {
			at += "/" + strconv.Itoa(s.item)
		} else {
			at = pointer(at, s.field)
		}
	}
	return at
}

// below reads the value of a field or of an item.
func (r *reader) below(s step) (any, error) {
	r.path = append(r.path, s)
	v, err := r.value()
	r.path = r.path[:len(r.path)-1]
	return v, err
}

func (r *reader) value() (any, error) {
	token, err := r.dec.Token()
	if err != nil {
		return nil, notJSON(r.dec, err)
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if len(r.path) == maxDepth {
		return nil, problem(wire.ProblemMalformed, r.at(), "Values are nested too deeply.")
	}
	if delim == '[' {
		list := []any{}
		for r.dec.More() {
			item, err := r.below(step{item: len(list)})
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		if _, err := r.dec.Token(); err != nil {
			return nil, notJSON(r.dec, err)
		}
		return list, nil
	}
	object := map[string]any{}
	for r.dec.More() {
		token, err := r.dec.Token()
		if err != nil {
			return nil, notJSON(r.dec, err)
		}
		key, _ := token.(string)
		if _, ok := object[key]; ok {
			return nil, problem(wire.ProblemMalformed, pointer(r.at(), key), "The field is given twice.")
		}
		if object[key], err = r.below(step{field: key, item: -1}); err != nil {
			return nil, err
		}
	}
	if _, err := r.dec.Token(); err != nil {
		return nil, notJSON(r.dec, err)
	}
	return object, nil
}

func notJSON(dec *json.Decoder, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return problem(wire.ProblemMalformed, "", "The body is not JSON: %s, at byte %d.", syntax, syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return problem(wire.ProblemMalformed, "", "The body is not JSON: it ends early, at byte %d.", dec.InputOffset())
	}
	return problem(wire.ProblemMalformed, "", "The body is not JSON, at byte %d.", dec.InputOffset())
}

var escapePointer = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is the JSON pointer (RFC 6901) of a field of the object at a pointer.
func pointer(at, field string) string { return at + "/" + escapePointer.Replace(field) }

func typeName(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	}
	return "null"
}

// fields takes the fields of an object one by one, and refuses the rest.
type fields struct {
	at     string
	object map[string]any
	err    error // the first one
}

// take returns the value of a field, if there is one of type T. want names the
// type in errors.
func take[T any](f *fields, name, want string) (T, bool) {
	var zero T
	v, ok := f.object[name]
	if !ok || f.err != nil {
		return zero, false
	}
	delete(f.object, name)
	t, ok := v.(T)
	if !ok {
		f.err = problem(wire.ProblemMalformed, pointer(f.at, name), "It must be %s, not %s.", want, typeName(v))
		return zero, false
	}
	return t, true
}

// end refuses fields that were not taken.
func (f *fields) end() error {
	if f.err != nil {
		return f.err
	}
	for _, name := range slices.Sorted(maps.Keys(f.object)) {
		return problem(wire.ProblemMalformed, pointer(f.at, name), "The field is unknown; GET /v1/openapi.yaml describes the fields.")
	}
	return nil
}

// maxName is the longest id of an app.
const maxName = 253

// readLaunch reads the body of POST /v1/sessions.
func readLaunch(object map[string]any) (wire.LaunchRequest, error) {
	f := &fields{object: object}
	var out wire.LaunchRequest
	app, hasApp := take[string](f, "app", "a string")
	version, hasVersion := take[json.Number](f, "version", "a number")
	rtt, _ := take[map[string]any](f, "rtt_ms", "an object of numbers by site")
	lost, _ := take[[]any](f, "lost", "a list of sites")
	preferences, hasPreferences := take[map[string]any](f, "preferences", "an object")
	if err := f.end(); err != nil {
		return out, err
	}
	switch {
	case !hasApp || app == "":
		return out, problem(wire.ProblemInvalid, "/app", "Name the app to play; GET /v1/apps lists them.")
	case len(app) > maxName:
		return out, problem(wire.ProblemInvalid, "/app", "It must have at most 253 bytes.")
	}
	out.App = app
	if hasVersion {
		v, err := strconv.ParseUint(version.String(), 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) || err != nil && strings.HasPrefix(version.String(), "-"):
			return out, problem(wire.ProblemInvalid, "/version", "It must be a version of the app, or 0 for the newest.")
		case err != nil:
			return out, problem(wire.ProblemMalformed, "/version", "It must be a whole number.")
		}
		out.Version = v
	}
	var err error
	if out.RTTMS, err = roundTrips(rtt, "/rtt_ms"); err != nil {
		return out, err
	}
	if out.Lost, err = names(lost, "/lost", "the name of a site"); err != nil {
		return out, err
	}
	if hasPreferences {
		if out.Preferences, err = readPreferences(preferences); err != nil {
			return out, err
		}
	}
	return out, nil
}

// readProbes reads the body of POST /v1/probes.
func readProbes(object map[string]any) (wire.ProbeRequest, error) {
	f := &fields{object: object}
	var out wire.ProbeRequest
	rtt, measured := take[map[string]any](f, "rtt_ms", "an object of numbers by site")
	silent, _ := take[map[string]any](f, "silent_ms", "an object of numbers by site")
	failed, _ := take[[]any](f, "failed", "a list of sites")
	if err := f.end(); err != nil {
		return out, err
	}
	if !measured {
		return out, problem(wire.ProblemInvalid, "/rtt_ms", "Send what was measured so far; {} if nothing was.")
	}
	var err error
	if out.RTTMS, err = roundTrips(rtt, "/rtt_ms"); err != nil {
		return out, err
	}
	if out.SilentMS, err = roundTrips(silent, "/silent_ms"); err != nil {
		return out, err
	}
	out.Failed, err = names(failed, "/failed", "the name of a site")
	return out, err
}

// roundTrips reads milliseconds by site.
func roundTrips(object map[string]any, at string) (map[string]float64, error) {
	if object == nil {
		return nil, nil
	}
	out := make(map[string]float64, len(object))
	var bad []string // all fields at fault, so that the error always names the same one
	for site, v := range object {
		ms, err := milliseconds(v, at)
		if err != nil {
			bad = append(bad, site)
		}
		out[site] = ms
	}
	if len(bad) > 0 {
		site := slices.Min(bad)
		_, err := milliseconds(object[site], pointer(at, site))
		return nil, err
	}
	return out, nil
}

func readPreferences(object map[string]any) (wire.Preferences, error) {
	const at = "/preferences"
	f := &fields{at: at, object: object}
	var out wire.Preferences
	allow, _ := take[[]any](f, "allow", "a list of sites")
	deny, _ := take[[]any](f, "deny", "a list of sites")
	residency, _ := take[[]any](f, "residency", "a list of jurisdictions")
	gpu, hasGPU := take[string](f, "gpu", "a string")
	most, hasMost := f.object["max_rtt_ms"]
	delete(f.object, "max_rtt_ms")
	if err := f.end(); err != nil {
		return out, err
	}
	var err error
	if out.Allow, err = names(allow, at+"/allow", "the name of a site"); err != nil {
		return out, err
	}
	if out.Deny, err = names(deny, at+"/deny", "the name of a site"); err != nil {
		return out, err
	}
	if out.Residency, err = names(residency, at+"/residency", "the name of a jurisdiction"); err != nil {
		return out, err
	}
	if i := slices.Index(out.Residency, ""); i >= 0 {
		return out, problem(wire.ProblemInvalid, fmt.Sprintf("%s/residency/%d", at, i), "Name a jurisdiction, such as \"eu\"; GET /v1/sites lists those of each site.")
	}
	if hasGPU && gpu == "" {
		return out, problem(wire.ProblemInvalid, at+"/gpu", "Name a class of GPU, or leave the field out; GET /v1/sites lists those of each site.")
	}
	out.GPU = gpu
	if hasMost {
		out.MaxRTTMS, err = milliseconds(most, at+"/max_rtt_ms")
	}
	return out, err
}

func names(list []any, at, what string) ([]string, error) {
	var out []string
	for i, v := range list {
		name, ok := v.(string)
		if !ok {
			return nil, problem(wire.ProblemMalformed, fmt.Sprintf("%s/%d", at, i), "It must be %s, not %s.", what, typeName(v))
		}
		out = append(out, name)
	}
	return out, nil
}

// milliseconds reads the time of a round trip.
func milliseconds(v any, at string) (float64, error) {
	text, ok := v.(json.Number)
	if !ok {
		return 0, problem(wire.ProblemMalformed, at, "It must be a number of milliseconds, not %s.", typeName(v))
	}
	ms, err := text.Float64()
	if err != nil || math.IsNaN(ms) || ms < 0 || ms > wire.MaxRTTMS {
		return 0, problem(wire.ProblemInvalid, at, "It must be from 0 to %d milliseconds; leave out what was not measured.", wire.MaxRTTMS)
	}
	return ms + 0, nil // turns -0 into 0
}
