package params

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

func TestParse(t *testing.T) {
	got, err := Parse(`[{"name":"model","pattern":"[a-z]+","default":"robot"},{"name":"key_1","secret":true}]`)
	want := []wire.Param{{Name: "model", Pattern: "[a-z]+", Default: "robot"}, {Name: "key_1", Secret: true}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, none := range []string{"", " \n", "[]", "null"} {
		if got, err := Parse(none); err != nil || len(got) > 0 {
			t.Errorf("%q: %+v, %v", none, got, err)
		}
	}
	many := "[" + strings.Repeat(`{"name":"a"},`, MaxParams) + `{"name":"a"}]`
	for text, why := range map[string]string{
		`model`:                        "JSON list",
		`{"name":"model"}`:             "JSON list",
		`[{"name":"a"}] []`:            "after the JSON list",
		`[{"name":"a","typ":"int"}]`:   "unknown field",
		`[{"name":"Model"}]`:           "a-z",
		`[{"name":"1"}]`:               "letter",
		`[{"pattern":"a"}]`:            "a-z",
		`[{"name":"a"},{"name":"a"}]`:  "twice",
		`[{"name":"a","pattern":"("}]`: "regular expression",
		// The group around a pattern must not make it valid.
		`[{"name":"a","pattern":"x)|(?:.*"}]`:                                  "regular expression",
		`[{"name":"a","pattern":"[a-z]+","default":"Robot"}]`:                  "default",
		`[{"name":"a","pattern":"` + strings.Repeat("a", maxPattern+1) + `"}]`: "at most",
		many: "more than",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want an error about %q", text, err, why)
		}
	}
}

var declared = []wire.Param{
	{Name: "model", Pattern: "[a-z0-9-]{1,8}|any thing", Default: "robot"},
	{Name: "note"},
	{Name: "key", Secret: true},
}

func TestValues(t *testing.T) {
	type values = map[string]string
	for name, c := range map[string]struct {
		given values
		from  Source
		want  values // nil is refused
		why   string
	}{
		"defaults":                        {nil, Page, values{"model": "robot", "note": "", "key": ""}, ""},
		"set":                             {values{"model": "car-2", "note": "grüß"}, Page, values{"model": "car-2", "note": "grüß", "key": ""}, ""},
		"empty is a value":                {values{"note": ""}, Page, values{"model": "robot", "note": "", "key": ""}, ""},
		"second alternative":              {values{"model": "any thing"}, Page, values{"model": "any thing", "note": "", "key": ""}, ""},
		"secret by token":                 {values{"key": "k"}, Token, values{"model": "robot", "note": "", "key": "k"}, ""},
		"secret by page":                  {values{"key": "k"}, Page, nil, "secret"},
		"unknown":                         {values{"modell": "car"}, Token, nil, "no such parameter. It has: model, note, key"},
		"part of the value matches":       {values{"model": "car; rm"}, Page, nil, "does not match"},
		"one alternative has a head":      {values{"model": "xxxxxxxxxxxx"}, Page, nil, "does not match"},
		"one alternative has a tail":      {values{"model": "any thing else"}, Page, nil, "does not match"},
		"a line after the match":          {values{"model": "car\n"}, Page, nil, "control character"},
		"empty where the pattern says no": {values{"model": ""}, Page, nil, "does not match"},
		"NUL":                             {values{"note": "a\x00b"}, Page, nil, "control character"},
		"option":                          {values{"note": "--exec=sh"}, Page, nil, `begins with "-"`},
		"not UTF-8":                       {values{"note": "\xff"}, Page, nil, "UTF-8"},
		"too long":                        {values{"note": strings.Repeat("a", MaxValue+1)}, Page, nil, "1024 bytes"},
		"long name":                       {values{strings.Repeat("a", 9000): ""}, Page, nil, "…"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Values(declared, c.given, c.from)
			if c.want != nil {
				if err != nil || !maps.Equal(got, c.want) {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.why) || len(err.Error()) > 300 {
				t.Errorf("got %v, %v; want an error about %q", got, err, c.why)
			}
			for _, v := range c.given {
				if len(v) > 2 && err != nil && strings.Contains(err.Error(), v) {
					t.Errorf("the error quotes the value: %v", err)
				}
			}
		})
	}
}

func TestAllValuesTogether(t *testing.T) {
	var many []wire.Param
	given := map[string]string{}
	for _, n := range []string{"a", "b", "c", "d"} {
		many = append(many, wire.Param{Name: n})
		given[n] = strings.Repeat("x", 900)
	}
	if _, err := Values(many, given, Page); err == nil || !strings.Contains(err.Error(), "together") {
		t.Errorf("3.6 KiB: %v", err)
	}
	delete(given, "d")
	if _, err := Values(many, given, Page); err != nil {
		t.Errorf("2.7 KiB: %v", err)
	}
}

func TestExpand(t *testing.T) {
	got := Expand([]string{"{{param.model}}", "--n={{ param.note }}!", "{{param.note}}{{param.model}}", "${HOME} {{other}}"},
		map[string]string{"model": "{{param.note}}", "note": "a b"})
	want := []string{"{{param.note}}", "--n=a b!", "a b{{param.note}}", "${HOME} {{other}}"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if err := Check(declared, []string{"{{param.model}}", "x"}); err != nil {
		t.Error(err)
	}
	if err := Check(declared, []string{"{{param.modell}}"}); err == nil {
		t.Error("a placeholder without a parameter is taken")
	}
}

func TestEnviron(t *testing.T) {
	if got := Environ(map[string]string{"model": "a=b", "key_1": ""}); !slices.Equal(got, []string{"NEARCAST_PARAM_KEY_1=", "NEARCAST_PARAM_MODEL=a=b"}) {
		t.Errorf("got %q", got)
	}
	text, err := File(map[string]string{"model": "<a>"})
	if err != nil || string(text) != `{"model":"<a>"}`+"\n" {
		t.Errorf("got %s, %v", text, err)
	}
	if text, _ := File(nil); string(text) != "{}\n" {
		t.Errorf("got %s", text)
	}
}

func FuzzParams(f *testing.F) {
	f.Add(`[{"name":"model","pattern":"[a-z]+","default":"robot"}]`, "model", "car", "--m={{param.model}}")
	f.Fuzz(func(t *testing.T, text, name, value, arg string) {
		list, err := Parse(text)
		if err != nil {
			return
		}
		values, err := Values(list, map[string]string{name: value}, Page)
		if err != nil {
			return
		}
		if values[name] != value {
			t.Errorf("%q became %q", value, values[name])
		}
		if strings.ContainsAny(values[name], "\x00\n") {
			t.Errorf("a control character came through: %q", values[name])
		}
		Expand([]string{arg}, values)
	})
}
