package login

import (
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/nearcast/nearcast/internal/testkit"
)

// rig is a server whose /begin begins a login that comes back to where ?next= says.
func rig(t *testing.T) (at string, browser *http.Client, finish func(callback string) (string, error)) {
	t.Helper()
	provider, err := mockoidc.Run()
	testkit.Must(t, err)
	t.Cleanup(func() { _ = provider.Shutdown() })
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p, err := New(Config{Issuer: provider.Issuer(), ClientID: provider.ClientID, ClientSecret: provider.ClientSecret, Redirect: server.URL + "/callback", Claim: "groups"})
	testkit.Must(t, err)
	mux.HandleFunc("/begin", func(rw http.ResponseWriter, r *http.Request) {
		if err := p.Begin(rw, r, Attempt{Next: r.FormValue("next"), Tag: "app"}); errors.Is(err, ErrLong) {
			rw.WriteHeader(http.StatusRequestURITooLong)
		} else if err != nil {
			t.Error(err)
		}
	})
	var next string
	var failed error
	mux.HandleFunc("/callback", func(rw http.ResponseWriter, r *http.Request) {
		a, _, err := p.Finish(rw, r)
		next, failed = a.Next, err
	})
	jar, _ := cookiejar.New(nil)
	browser = &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if req.URL.Path == "/callback" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return server.URL, browser, func(callback string) (string, error) {
		t.Helper()
		res, err := browser.Get(callback)
		testkit.Must(t, err)
		res.Body.Close()
		return next, failed
	}
}

// begin gives the status, and the address that the provider sends the person back to.
func begin(t *testing.T, browser *http.Client, at, next string) (int, string) {
	t.Helper()
	res, err := browser.Get(at + "/begin?next=" + url.QueryEscape(next))
	testkit.Must(t, err)
	res.Body.Close()
	for _, c := range res.Cookies() {
		t.Logf("a cookie of %d bytes", len(c.Name)+len(c.Value))
	}
	return res.StatusCode, res.Header.Get("Location")
}

// TestLongAddress: an address either fits into a cookie that browsers keep, whatever it consists of, or is
// refused before the person goes to the provider.
func TestLongAddress(t *testing.T) {
	at, browser, finish := rig(t)
	for next, fits := range map[string]bool{"/play/a?" + strings.Repeat("a=b&", 500): true, "/play/a?" + strings.Repeat("&", 2000): true,
		"/play/a?" + strings.Repeat(`"`, 2000): false, "/play/a?" + strings.Repeat("a", 4000): false} {
		status, callback := begin(t, browser, at, next)
		if (status == http.StatusRequestURITooLong) == fits {
			t.Errorf("%d bytes: %d", len(next), status)
		}
		if !fits {
			continue
		}
		here, _ := url.Parse(at)
		for _, c := range browser.Jar.Cookies(here) {
			if len(c.Name)+len(c.Value) > 4096-100 {
				t.Errorf("a cookie of %d bytes: browsers drop it", len(c.Name)+len(c.Value))
			}
		}
		if got, err := finish(callback); err != nil || got != next {
			t.Errorf("%d bytes come back as %d: %v", len(next), len(got), err)
		}
	}
}

// TestAttemptsAreFew: a page that has a browser begin login after login does not fill its cookies, and
// the last ones can still be finished.
func TestAttemptsAreFew(t *testing.T) {
	at, browser, finish := rig(t)
	var callbacks []string
	for range 3 * maxAttempts {
		_, callback := begin(t, browser, at, "/play/a?"+strings.Repeat("a", 2000))
		callbacks = append(callbacks, callback)
	}
	here, _ := url.Parse(at)
	if n := len(browser.Jar.Cookies(here)); n != maxAttempts {
		t.Errorf("the browser keeps %d attempts, want %d", n, maxAttempts)
	}
	for i, callback := range callbacks {
		_, err := finish(callback)
		var no Refused
		late := errors.As(err, &no) && no.Kind == Late
		if kept := i >= len(callbacks)-maxAttempts; kept != (err == nil) || !kept && !late {
			t.Errorf("attempt %d of %d: %v", i+1, len(callbacks), err)
		}
	}
}
