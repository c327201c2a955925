package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nearcast/nearcast/internal/wire"
)

// Requests are decoded by hand, because an error must name its field by a JSON
// pointer. encoding/json accepts fields that are given twice or in other case,
// accepts null for any type, and gives no pointer. encoding/json/v2 would do all
// but null, but it is an experiment, and so is go-json-experiment/json. Validators
// of the OpenAPI document (the tests use kin-openapi) get a decoded map, in which a
// field that was given twice is there once.

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
