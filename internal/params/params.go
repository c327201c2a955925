// Package params is what an app lets people set: the parameters that its job declares,
// and the check of values for them.
//
// A job declares its parameters in its meta, as JSON. In a job file:
//
//	meta {
//	  params = jsonencode([
//	    { name = "model", pattern = "[a-z0-9-]{1,40}", default = "robot" },
//	    { name = "session_key", secret = true },
//	  ])
//	}
//
// A name is 1 to 32 of a-z, 0-9 and _, and starts with a letter. A pattern is a regular
// expression (RE2) for the whole value; without one, any text that does not begin with "-"
// is allowed, as a program would take that for an option. A value is at most MaxValue bytes
// of UTF-8 without control characters. A parameter without a default
// is empty where nobody sets it. A secret is set by a launch token alone, never by a
// page, and stands in no log; the person who has the token can read it.
//
//	declared, err := params.Parse(job.Meta["params"])
//	values, err := params.Values(declared, given, params.Token)
//	args = params.Expand(args, values) // "--model={{param.model}}"
package params

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// MetaKey is the job's meta with the declarations.
	MetaKey = "params"
	// MaxParams is how many parameters an app may have, MaxValue how long a value may be,
	// and MaxAll how long all values of a session may be together, names included: they
	// travel in the ticket.
	MaxParams = 16
	MaxValue  = 1 << 10
	MaxAll    = 3 << 10
	// maxPattern bounds what is compiled: a publisher writes it, and every router runs it.
	maxPattern = 256
)

var name = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// Parse reads declarations. Empty text declares none.
func Parse(text string) ([]wire.Param, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	var list []wire.Param
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("read params: %w; they are a JSON list of objects with name, pattern, default, secret", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read params: there is something after the JSON list")
	}
	if len(list) > MaxParams {
		return nil, fmt.Errorf("read params: %d parameters are more than the %d that an app may have", len(list), MaxParams)
	}
	seen := map[string]bool{}
	for _, p := range list {
		if err := checkDeclared(p); err != nil {
			return nil, fmt.Errorf("read params: %q: %w", p.Name, err)
		}
		if seen[p.Name] {
			return nil, fmt.Errorf("read params: %q is declared twice", p.Name)
		}
		seen[p.Name] = true
	}
	return list, nil
}

func checkDeclared(p wire.Param) error {
	if !name.MatchString(p.Name) {
		return errors.New("a name has 1 to 32 of a-z, 0-9 and _, and starts with a letter")
	}
	if len(p.Pattern) > maxPattern {
		return fmt.Errorf("a pattern has at most %d bytes", maxPattern)
	}
	if _, err := compile(p.Pattern); err != nil {
		return fmt.Errorf("the pattern is not a regular expression: %w", err)
	}
	if p.Default == "" {
		return nil
	}
	if why := wrong(p, p.Default); why != "" {
		return fmt.Errorf("the default %s", why)
	}
	return nil
}

// compile makes a pattern match whole values.
func compile(pattern string) (*regexp.Regexp, error) {
	// Alone first: "a)(b" must not become valid by the group around it.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

// wrong says what is wrong with a value; empty if nothing is. It does not quote the value.
func wrong(p wire.Param, value string) string {
	switch {
	case len(value) > MaxValue:
		return fmt.Sprintf("has more than %d bytes", MaxValue)
	case !utf8.ValidString(value):
		return "is not UTF-8"
	case strings.ContainsFunc(value, unicode.IsControl):
		return "has a control character"
	case p.Pattern == "" && strings.HasPrefix(value, "-"):
		return `begins with "-", and the app's job gives no pattern that allows it`
	case p.Pattern == "":
		return ""
	}
	pattern, err := compile(p.Pattern)
	if err != nil {
		return "cannot be checked: " + err.Error()
	}
	if !pattern.MatchString(value) {
		return fmt.Sprintf("does not match %s", p.Pattern)
	}
	return ""
}

// Source is who sets a value.
type Source int

const (
	Page  Source = iota // the page of a public app, and so anybody
	Token               // the customer, by a launch token
)

// Error says which value cannot be set, and why. It never quotes a value.
type Error struct {
	Name string // of the parameter; empty where all values together are wrong
	Why  string // what to do, as a sentence
}

func (e *Error) Error() string {
	if e.Name == "" {
		return e.Why
	}
	return fmt.Sprintf("parameter %s: %s", e.Name, e.Why)
}

// Values checks the given values and adds the defaults. Its error is an *Error.
func Values(declared []wire.Param, given map[string]string, from Source) (map[string]string, error) {
	for _, n := range sortedNames(given) {
		i := slices.IndexFunc(declared, func(p wire.Param) bool { return p.Name == n })
		if i < 0 {
			return nil, &Error{shorten(n), "The app has no such parameter. " + describe(declared)}
		}
		p := declared[i]
		if p.Secret && from != Token {
			return nil, &Error{n, "It is secret: only a launch token can set it."}
		}
		if why := wrong(p, given[n]); why != "" {
			return nil, &Error{n, "The value " + why + "."}
		}
	}
	values := make(map[string]string, len(declared))
	all := 0
	for _, p := range declared {
		value, set := given[p.Name]
		if !set {
			value = p.Default
		}
		values[p.Name] = value
		all += len(p.Name) + len(value)
	}
	if all > MaxAll {
		return nil, &Error{"", fmt.Sprintf("All parameters together have %d bytes; %d are allowed.", all, MaxAll)}
	}
	return values, nil
}

func describe(declared []wire.Param) string {
	if len(declared) == 0 {
		return "It takes no parameters."
	}
	names := make([]string, len(declared))
	for i, p := range declared {
		names[i] = p.Name
	}
	return "It has: " + strings.Join(names, ", ") + "."
}

// shorten bounds a name that a stranger sent.
func shorten(n string) string {
	if len(n) > 64 {
		return strings.ToValidUTF8(n[:64], "") + "…"
	}
	return n
}

func sortedNames(values map[string]string) []string {
	names := make([]string, 0, len(values))
	for n := range values {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

var placeholder = regexp.MustCompile(`\{\{\s*param\.([a-z][a-z0-9_]*)\s*\}\}`)

// Check says whether all placeholders in args name a declared parameter.
func Check(declared []wire.Param, args []string) error {
	for _, arg := range args {
		for _, m := range placeholder.FindAllStringSubmatch(arg, -1) {
			if !slices.ContainsFunc(declared, func(p wire.Param) bool { return p.Name == m[1] }) {
				return fmt.Errorf("%s names no parameter of the app; declare it in the job's meta %s", m[0], MetaKey)
			}
		}
	}
	return nil
}

// Expand replaces each {{param.name}} in args by its value. A value is never looked at
// again, and stays part of its argument.
func Expand(args []string, values map[string]string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = placeholder.ReplaceAllStringFunc(arg, func(m string) string {
			return values[placeholder.FindStringSubmatch(m)[1]]
		})
	}
	return out
}

// FileEnv is the variable with the path of an app's file of parameters.
const FileEnv = "NEARCAST_PARAMS_FILE"

// Environ is the environment that an app gets: NEARCAST_PARAM_MODEL for "model".
func Environ(values map[string]string) []string {
	var env []string
	for _, n := range sortedNames(values) {
		env = append(env, "NEARCAST_PARAM_"+strings.ToUpper(n)+"="+values[n])
	}
	return env
}

// File is the text of the file with an app's parameters: one JSON object of strings.
func File(values map[string]string) ([]byte, error) {
	if values == nil {
		values = map[string]string{}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(values); err != nil {
		return nil, fmt.Errorf("encode parameters: %w", err)
	}
	return b.Bytes(), nil
}
