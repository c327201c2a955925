package brain_test

import (
	"bytes"
	"encoding/json"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// still answers as the test wants.
func (x *seat) still(rw http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	answer := x.stills
	x.mu.Unlock()
	if answer == nil {
		rw.WriteHeader(http.StatusForbidden)
		return
	}
	answer(rw, r)
}

func jpegOf(t *testing.T, width, height int) []byte {
	var b bytes.Buffer
	testkit.Must(t, jpeg.Encode(&b, image.NewRGBA(image.Rect(0, 0, width, height)), nil))
	return b.Bytes()
}

// TestStill asks a brain for stills of a seat that may be hostile: only a picture of the session, of a
// still's size, is passed on, and in time.
func TestStill(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 1, Max: 1}, brain.App{ID: "chess", Version: 1, Max: 0})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	ada := s.play(b, "game")
	grant := ada.expect(wire.MsgGranted).Grant
	x := s.at(grant.Seat)
	eve := s.play(b, "chess")
	eve.expect(wire.MsgQueued)

	ask := func(session, body string) (int, wire.Problem, wire.Still) {
		t.Helper()
		res, err := asRouter().Post(b.internal+wire.SessionsPath+"/"+session+wire.StillPath, "application/json", strings.NewReader(body))
		testkit.Must(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		testkit.Must(t, err)
		var p wire.Problem
		var out wire.Still
		if res.StatusCode == http.StatusOK {
			testkit.Must(t, json.Unmarshal(text, &out))
		} else {
			testkit.Must(t, json.Unmarshal(text, &p))
		}
		return res.StatusCode, p, out
	}
	of := func(session string) string {
		text, _ := json.Marshal(wire.StillRequest{Session: session, Role: wire.RoleOperator})
		return string(text)
	}
	set := func(answer func(http.ResponseWriter, *http.Request)) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.stills = answer
	}
	say := func(still wire.Still) func(http.ResponseWriter, *http.Request) {
		return func(rw http.ResponseWriter, _ *http.Request) { json.NewEncoder(rw).Encode(still) }
	}
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(code) }
	}
	good := wire.Still{Session: ada.session, At: time.Now().Add(-time.Second).UTC(), Width: 320, Height: 180, JPEG: append(jpegOf(t, 320, 180), "<script>"...)}

	var asked wire.StillRequest
	set(func(rw http.ResponseWriter, r *http.Request) {
		json.NewDecoder(r.Body).Decode(&asked)
		json.NewEncoder(rw).Encode(good)
	})
	code, p, out := ask(ada.session, of(ada.session))
	size, err := jpeg.DecodeConfig(bytes.NewReader(out.JPEG))
	if code != http.StatusOK || err != nil || size.Width != 320 || out.Width != 320 || out.Height != 180 || out.Session != ada.session || !out.At.Equal(good.At) || bytes.Contains(out.JPEG, []byte("<script>")) {
		t.Errorf("a still: %d %+v, %v %+v", code, p, err, size)
	}
	if asked != (wire.StillRequest{Session: ada.session, Role: wire.RoleOperator}) {
		t.Errorf("the seat was asked %+v", asked)
	}

	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		status int
	}{
		"of another session": {say(wire.Still{Session: eve.session, JPEG: good.JPEG}), http.StatusConflict},
		"no picture":         {say(wire.Still{Session: ada.session, JPEG: []byte("<html><script>alert(1)</script>")}), http.StatusConflict},
		"nothing":            {say(wire.Still{Session: ada.session}), http.StatusConflict},
		"too wide":           {say(wire.Still{Session: ada.session, JPEG: jpegOf(t, wire.MaxStillSide+1, 10)}), http.StatusConflict},
		"too large": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Write(bytes.Repeat([]byte(" "), 2*wire.MaxStillBody))
		}, http.StatusConflict},
		"a still, and more": {func(rw http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(rw).Encode(wire.Still{Session: ada.session, JPEG: good.JPEG})
			rw.Write(bytes.Repeat([]byte(" "), wire.MaxStillBody))
		}, http.StatusConflict},
		"no end": {func(rw http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := rw.Write(bytes.Repeat([]byte(" "), 1<<16)); err != nil {
					return
				}
			}
		}, http.StatusConflict},
		"another place": {func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://127.0.0.1:1/", http.StatusFound)
		}, http.StatusConflict},
		"the job says no":   {status(http.StatusForbidden), http.StatusForbidden},
		"too often":         {status(http.StatusTooManyRequests), http.StatusTooManyRequests},
		"the session ended": {status(http.StatusGone), http.StatusNotFound},
		"an older release":  {status(http.StatusNotFound), http.StatusConflict},
		"an error":          {status(http.StatusInternalServerError), http.StatusConflict},
		"later than now":    {say(wire.Still{Session: ada.session, At: time.Now().Add(time.Hour), JPEG: good.JPEG}), http.StatusOK},
	} {
		set(c.answer)
		code, p, out := ask(ada.session, of(ada.session))
		if code != c.status || code != http.StatusOK && (p.Status != code || p.Detail == "") {
			t.Errorf("%s: %d %+v", name, code, p)
		}
		if code == http.StatusOK && out.At.After(time.Now()) {
			t.Errorf("%s: it is of %v", name, out.At)
		}
	}

	// A seat that does not answer.
	released := make(chan struct{})
	set(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	})
	begin := time.Now()
	if code, _, _ := ask(ada.session, of(ada.session)); code != http.StatusConflict || time.Since(begin) > wire.StillWithin+5*time.Second {
		t.Errorf("a silent seat: %d after %v", code, time.Since(begin))
	}
	close(released)

	set(say(good))
	none := ticket.NewSession()
	for name, c := range map[string]struct {
		session, body string
		status        int
	}{
		"who waits":                   {eve.session, of(eve.session), http.StatusConflict},
		"nobody":                      {none, of(none), http.StatusNotFound},
		"another session in the body": {ada.session, of(eve.session), http.StatusBadRequest},
		"no JSON":                     {ada.session, "{", http.StatusBadRequest},
		"more than is known":          {ada.session, `{"session":"` + ada.session + `","role":"operator","width":9999}`, http.StatusBadRequest},
		"a large body":                {ada.session, `{"session":"` + strings.Repeat("x", 5<<10) + `"}`, http.StatusBadRequest},
	} {
		if code, p, _ := ask(c.session, c.body); code != c.status || p.Status != code {
			t.Errorf("%s: %d %+v", name, code, p)
		}
	}
}
