package console

import (
	"bytes"
	"net/http"
	"os"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// TestStill: who may look is what the app's job says, and the log has who looked at whose session, and no
// picture.
func TestStill(t *testing.T) {
	r := newRig(t)
	r.person(wire.RoleViewer).stream("").next()
	path := "/console/api/sessions/" + first + "/still"
	for _, c := range []struct {
		stills string
		role   wire.ConsoleRole
		status int
		kind   string
	}{
		{"", wire.RoleAdmin, http.StatusForbidden, wire.ProblemForbidden},
		{"everybody", wire.RoleAdmin, http.StatusForbidden, wire.ProblemForbidden},
		{wire.StillsOperator, wire.RoleViewer, http.StatusForbidden, wire.ConsoleProblemRole},
		{wire.StillsOperator, wire.RoleOperator, http.StatusOK, ""},
		{wire.StillsOperator, wire.RoleAdmin, http.StatusOK, ""},
		{wire.StillsAdmin, wire.RoleViewer, http.StatusForbidden, wire.ConsoleProblemRole},
		{wire.StillsAdmin, wire.RoleOperator, http.StatusForbidden, wire.ConsoleProblemRole},
		{wire.StillsAdmin, wire.RoleAdmin, http.StatusOK, ""},
	} {
		r.world.mu.Lock()
		view := r.world.sessions[first]
		view.Stills, view.Customer, view.Subject = c.stills, "shop", "5ubject"
		r.world.sessions[first], r.world.did = view, nil
		r.world.mu.Unlock()
		p := r.person(c.role)
		res, text := p.do(p.request("POST", path, ""))
		if res.StatusCode != c.status || (c.kind != "") != bytes.Contains(text, []byte(c.kind+`"`)) && c.kind != "" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("stills %q as %s: %s %s, %s", c.stills, c.role, res.Status, res.Header.Get("Cache-Control"), text)
		}
		did, want := len(r.world.did), 0
		if c.status == http.StatusOK {
			want = 1
		}
		lines := r.lines()
		last := lines[len(lines)-1]
		result := map[bool]string{true: resultOK, false: resultRefused}[want == 1]
		if did != want || last.Act != wire.ActStill || last.On != first || last.Site != "east" || last.Who != "sub-"+string(c.role) || last.With["subject"] != "5ubject" || last.With["customer"] != "shop" || last.Result != result {
			t.Errorf("stills %q as %s: %d were made, written down as %+v", c.stills, c.role, did, last)
		}
	}
	p := r.person(wire.RoleAdmin)
	if status := p.ask("POST", "/console/api/sessions/s-east-none/still", "", nil); status != http.StatusNotFound {
		t.Errorf("of no session: %d", status)
	}
	if res, _ := p.do(p.request("GET", path, "")); res.StatusCode == http.StatusOK {
		t.Errorf("by GET, which caches keep: %s", res.Status)
	}
	text, err := os.ReadFile(r.audit)
	if err != nil || bytes.Contains(text, []byte("a picture")) || bytes.Contains(text, []byte("YSBwaWN0dXJl")) {
		t.Errorf("the picture is in the audit log, or %v", err)
	}
}
