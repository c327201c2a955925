package nomad

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// read makes an app of a job with this meta, as Nomad's JSON gives it.
func read(t *testing.T, meta map[string]string) (params []wire.Param, log string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"ID": "viewer", "Type": "batch", "ParameterizedJob": map[string]any{}, "Meta": meta,
		"TaskGroups": []any{map[string]any{"Tasks": []any{map[string]any{"Driver": "stream"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	app, ok := (&Client{driver: "stream", log: slog.New(slog.NewTextHandler(&out, nil))}).app(j)
	if !ok {
		t.Fatal("the job is no app")
	}
	return app.Params, out.String()
}

func TestParams(t *testing.T) {
	got, log := read(t, map[string]string{"params": `[{"name":"model","pattern":"[a-z]+","default":"robot"},{"name":"key","secret":true}]`})
	want := []wire.Param{{Name: "model", Pattern: "[a-z]+", Default: "robot"}, {Name: "key", Secret: true}}
	if !slices.Equal(got, want) || log != "" {
		t.Errorf("got %+v, log %s", got, log)
	}
	if got, log := read(t, nil); got != nil || log != "" {
		t.Errorf("without params: %+v, log %s", got, log)
	}
	// An app whose declarations are wrong takes no values from anybody.
	if got, log := read(t, map[string]string{"params": `[{"name":"model"},{"name":"model"}]`}); got != nil || !strings.Contains(log, "twice") {
		t.Errorf("declared twice: %+v, log %s", got, log)
	}
}
