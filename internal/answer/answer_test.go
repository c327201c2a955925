package answer

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ok", func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "fine") })
	mux.HandleFunc("GET /own", func(rw http.ResponseWriter, _ *http.Request) {
		Write(rw, wire.Problem{Type: wire.ProblemTicket, Title: "No", Status: 401, Detail: "own"})
	})
	mux.HandleFunc("GET /secret", func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "s3://bucket/key", 500) })
	mux.HandleFunc("GET /socket", func(rw http.ResponseWriter, r *http.Request) {
		if ws, err := websocket.Accept(rw, r, nil); err == nil {
			ws.Close(websocket.StatusNormalClosure, "")
		}
	})
	server := httptest.NewUnstartedServer(Problems(mux))
	server.Config.MaxHeaderBytes = ReadHeader
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func TestErrorsAreProblems(t *testing.T) {
	server := serve(t)
	for name, c := range map[string]struct {
		method, path, header string
		status               int
		kind                 string
	}{
		"no such path":     {"GET", "/nothing", "", 404, wire.ProblemNotFound},
		"other method":     {"POST", "/ok", "", 405, wire.ProblemMethod},
		"plain 500":        {"GET", "/secret", "", 500, wire.ProblemInternal},
		"its own problem":  {"GET", "/own", "", 401, wire.ProblemTicket},
		"no upgrade":       {"GET", "/socket", "", 426, wire.ProblemMalformed},
		"headers too long": {"GET", "/ok", strings.Repeat("x", MaxHeader), 431, wire.ProblemHeaders},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(c.method, server.URL+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.header != "" {
				req.Header.Set("X-Long", c.header)
			}
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var p wire.Problem
			body, _ := io.ReadAll(res.Body)
			if err := json.Unmarshal(body, &p); err != nil || res.Header.Get("Content-Type") != wire.ProblemType {
				t.Fatalf("%s: %s, %v", res.Status, body, err)
			}
			if res.StatusCode != c.status || p.Status != c.status || p.Type != c.kind || p.Title == "" || p.Detail == "" {
				t.Errorf("%s: %+v", res.Status, p)
			}
			if strings.Contains(string(body), "s3://") {
				t.Errorf("the text of an error is public: %s", body)
			}
		})
	}
}

func TestOtherAnswersPass(t *testing.T) {
	server := serve(t)
	res, err := server.Client().Get(server.URL + "/ok")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || string(body) != "fine" {
		t.Errorf("%s %s", res.Status, body)
	}
	ws, _, err := websocket.Dial(t.Context(), server.URL+"/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Error(err)
	}
}
