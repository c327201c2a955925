package router

import (
	"maps"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// declare gives chess parameters.
func (g *rig) declare(list ...wire.Param) {
	g.view.set(func(s *Snapshot) {
		for i := range s.Sites {
			apps := map[string]wire.App{}
			for id, app := range s.Sites[i].Apps {
				if id == "chess" {
					app.Params = list
				}
				apps[id] = app
			}
			s.Sites[i].Apps = apps
		}
	})
}

func TestParams(t *testing.T) {
	type values = map[string]string
	g := newRig(t)
	g.declare(wire.Param{Name: "level", Pattern: "[1-9]", Default: "1"}, wire.Param{Name: "note"}, wire.Param{Name: "key", Secret: true})
	c := g.customer()
	token := func(set values) string { return c.token(func(l *ticket.Launch) { l.Params = set }) }
	body := func(params string) string { return `{"app":"chess","params":` + params + `}` }

	for name, x := range map[string]struct {
		body, token string
		want        values
	}{
		"none":             {playChess, "", nil},
		"page":             {body(`{"level":"5"}`), "", values{"level": "5"}},
		"token":            {playChess, token(values{"level": "6", "key": "k"}), values{"level": "6", "key": "k"}},
		"token goes first": {body(`{"level":"5","note":"hi"}`), token(values{"level": "6"}), values{"level": "6", "note": "hi"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", x.body, auth(x.token)...)
			if got := g.claims(out).Params; !maps.Equal(got, x.want) {
				t.Errorf("the ticket has %v, want %v", got, x.want)
			}
		})
	}
	for name, x := range map[string]struct {
		body, token, kind, field, why string
	}{
		"unknown":            {body(`{"levle":"5"}`), "", wire.ProblemInvalid, "/params/levle", "It has: level, note, key."},
		"not its pattern":    {body(`{"level":"55"}`), "", wire.ProblemInvalid, "/params/level", "[1-9]"},
		"secret by page":     {body(`{"key":"k"}`), "", wire.ProblemInvalid, "/params/key", "launch token"},
		"secret, with token": {body(`{"key":"k"}`), token(nil), wire.ProblemInvalid, "/params/key", "launch token"},
		"no string":          {body(`{"level":5}`), "", wire.ProblemMalformed, "/params/level", "string"},
		"no object":          {body(`[]`), "", wire.ProblemMalformed, "/params", "object"},
		"token, unknown":     {playChess, token(values{"levle": "5"}), wire.ProblemInvalid, "", "levle"},
		"token, no pattern":  {playChess, token(values{"level": "55"}), wire.ProblemInvalid, "", "level"},
		"too much":           {body(`{"note":"` + strings.Repeat("x", 1025) + `"}`), "", wire.ProblemInvalid, "/params/note", "1024"},
	} {
		t.Run(name, func(t *testing.T) {
			p := g.refused(x.kind, "POST", "/v1/sessions", x.body, auth(x.token)...)
			if p.Field != x.field || !strings.Contains(p.Detail, x.why) {
				t.Errorf("got %+v", p)
			}
		})
	}

	g.sign(wire.AccessSigned, 0, 1)
	p := g.refused(wire.ProblemInvalid, "POST", "/v1/sessions", body(`{"level":"5"}`), "Authorization", token(nil))
	if p.Field != "/params" {
		t.Errorf("a page sets parameters of a signed app: %+v", p)
	}
	if text := g.logs.String(); strings.Contains(text, `"k"`) || strings.Contains(text, "=k ") {
		t.Errorf("the log has a secret:\n%s", text)
	}
}

func auth(token string) []string {
	if token == "" {
		return nil
	}
	return []string{"Authorization", token}
}
