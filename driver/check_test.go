package driver

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

func checked(t *testing.T, task wire.TaskCheck) (v wire.TaskVerdict) {
	t.Helper()
	in, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := CheckTask(bytes.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// Configs are as Nomad's API gives them: blocks are lists of objects.
func TestCheckTask(t *testing.T) {
	object := func(pairs ...any) json.RawMessage {
		m := map[string]any{"command": "f3d"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	blocks := func(m map[string]any) []map[string]any { return []map[string]any{m} }
	for name, c := range map[string]struct {
		task     wire.TaskCheck
		problems []string // each is a part of one
		needs    []string
	}{
		"nothing wrong": {task: wire.TaskCheck{Config: object("display", blocks(map[string]any{"width": 1920, "height": 1080}), "args", []any{"{{param.model}}"}),
			Params: `[{"name":"model","default":"robot"}]`}},
		"no command":           {task: wire.TaskCheck{Config: json.RawMessage(`{}`)}, problems: []string{"command"}},
		"a typo":               {task: wire.TaskCheck{Config: object("comand", "f3d")}, problems: []string{"comand"}},
		"a typo in a block":    {task: wire.TaskCheck{Config: object("display", blocks(map[string]any{"widht": 1}))}, problems: []string{"widht"}},
		"of the wrong kind":    {task: wire.TaskCheck{Config: object("audio", "perhaps")}, problems: []string{"audio"}},
		"several bad values":   {task: wire.TaskCheck{Config: object("start", "later", "max_duration", "1y", "network", "host")}, problems: []string{"start", "max_duration"}, needs: []string{"network"}},
		"bad params":           {task: wire.TaskCheck{Config: object(), Params: `[{"name":"model"},{"name":"model"}]`}, problems: []string{"meta.params"}},
		"unknown param":        {task: wire.TaskCheck{Config: object("args", []any{"{{param.model}}"})}, problems: []string{"args"}},
		"a user":               {task: wire.TaskCheck{Config: object(), User: "games"}, needs: []string{"games"}},
		"a bad user":           {task: wire.TaskCheck{Config: object("user", "1:2:3")}, problems: []string{"user"}, needs: []string{"1:2:3"}},
		"a GPU, none reserved": {task: wire.TaskCheck{Config: object("gpu", true)}, problems: []string{"gpu = true: the job reserves no GPU"}},
		"an encoder of a GPU":  {task: wire.TaskCheck{Config: object("video", blocks(map[string]any{"encoder": "nvh264enc"}))}, problems: []string{"nvh264enc"}},
		"a reserved GPU":       {task: wire.TaskCheck{Config: object("gpu", true, "video", blocks(map[string]any{"encoder": "nvh264enc"})), GPU: true}},
		"left to Nomad":        {task: wire.TaskCheck{Config: object("start_timeout", "${meta.patience}", "args", []any{"${NOMAD_TASK_DIR}/x"})}},
	} {
		t.Run(name, func(t *testing.T) {
			v := checked(t, c.task)
			same := func(got, want []string) bool {
				return len(got) == len(want) && !slices.ContainsFunc(want, func(part string) bool {
					return !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, part) })
				})
			}
			if !same(v.Problems, c.problems) || !same(v.Needs, c.needs) {
				t.Errorf("problems %q, needs %q; want %q, %q", v.Problems, v.Needs, c.problems, c.needs)
			}
		})
	}
}
