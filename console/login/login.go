// Package login says who uses the console: it logs people in, by OpenID Connect or by a token, and
// knows them again by a cookie.
//
//	sessions := login.NewSessions(login.SessionsConfig{URL: "https://console.example", Lasts: 8 * time.Hour})
//	method, err := login.NewOIDC(login.OIDCConfig{Issuer: "https://login.example", …})
//	mux.Handle("/console/login", method.Begin(sessions)) // …
//
//	s, ok := sessions.Of(r)   // who asks
//	s.Allows(r)               // the request has the login's CSRF token
//	<-s.Done()                // it has ended: logout, or its time is up
//
// What a login is stands in this process's memory: a restart logs everybody out, and with OpenID
// Connect a click logs in again. The cookie has nothing but a random name of it, of which only the
// hash is kept. It is HttpOnly, SameSite=Lax, and with https Secure with the prefix __Host-.
package login

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/login"
	"github.com/nearcast/nearcast/internal/wire"
)

// Person is who has logged in.
type Person struct {
	Subject string // the provider's, which never changes
	Name    string // for people
	Role    wire.ConsoleRole
}

// Session is a login. It may be used by many goroutines at once.
type Session struct {
	Person
	Until time.Time
	CSRF  string

	id      [sha256.Size]byte
	done    chan struct{}
	streams int // guarded by Sessions.mu
}

// Done is closed when the login has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Allows reports whether a request has the login's CSRF token.
func (s *Session) Allows(r *http.Request) bool {
	return subtle.ConstantTimeCompare([]byte(r.Header.Get(wire.ConsoleCSRFHeader)), []byte(s.CSRF)) == 1
}

const (
	// maxSessions bounds the logins at once, and maxOf those of one person. The oldest one ends
	// where there is one too many.
	maxSessions = 1000
	maxOf       = 20
	// maxStreams is how many streams of events a login has at once, and maxStreamsOf how many one
	// person has by all their logins.
	maxStreams   = 6
	maxStreamsOf = 20
)

// SessionsConfig says what logins are like.
type SessionsConfig struct {
	// URL is where browsers reach the console.
	URL   string
	Lasts time.Duration
	// Now is for tests; nil is time.Now.
	Now func() time.Time
}

// Sessions are all logins.
type Sessions struct {
	cfg     SessionsConfig
	cookies login.Cookies

	mu      sync.Mutex
	all     map[[sha256.Size]byte]*Session
	streams map[string]int // by subject
}

// NewSessions makes an empty set.
func NewSessions(cfg SessionsConfig) *Sessions {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sessions{cfg: cfg, cookies: login.CookiesOf(cfg.URL), all: map[[sha256.Size]byte]*Session{}, streams: map[string]int{}}
}

const sessionCookie = "console"

// Start logs a person in: with a new name, so that nobody can have set it before.
func (s *Sessions) Start(rw http.ResponseWriter, p Person) *Session {
	secret, now := rand.Text()+rand.Text(), s.cfg.Now()
	one := &Session{Person: p, Until: now.Add(s.cfg.Lasts).UTC().Truncate(time.Second), CSRF: rand.Text(), id: sha256.Sum256([]byte(secret)), done: make(chan struct{})}
	s.mu.Lock()
	s.sweep(now)
	s.makeRoom(p.Subject)
	s.all[one.id] = one
	s.mu.Unlock()
	http.SetCookie(rw, s.cookies.Make(sessionCookie, secret, s.cfg.Lasts))
	time.AfterFunc(one.Until.Sub(now), func() { s.end(one.id) })
	return one
}

// sweep ends what is over. mu is held.
func (s *Sessions) sweep(now time.Time) {
	for id, one := range s.all {
		if !now.Before(one.Until) {
			close(one.done)
			delete(s.all, id)
		}
	}
}

// makeRoom ends the oldest login of all, or of the subject, where there are too many. mu is held.
func (s *Sessions) makeRoom(subject string) {
	var oldest, own *Session
	of := 0
	for _, one := range s.all {
		if oldest == nil || one.Until.Before(oldest.Until) {
			oldest = one
		}
		if one.Subject == subject {
			if of++; own == nil || one.Until.Before(own.Until) {
				own = one
			}
		}
	}
	switch {
	case of >= maxOf:
		oldest = own
	case len(s.all) < maxSessions:
		return
	}
	close(oldest.done)
	delete(s.all, oldest.id)
}

// Of is the login of a request.
func (s *Sessions) Of(r *http.Request) (*Session, bool) {
	c, err := r.Cookie(s.cookies.Name(sessionCookie))
	if err != nil {
		return nil, false
	}
	id := sha256.Sum256([]byte(c.Value))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(s.cfg.Now())
	one, ok := s.all[id]
	return one, ok
}

// End logs a request's person out.
func (s *Sessions) End(rw http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(s.cookies.Name(sessionCookie)); err == nil {
		s.end(sha256.Sum256([]byte(c.Value)))
	}
	http.SetCookie(rw, s.cookies.Make(sessionCookie, "", 0))
}

func (s *Sessions) end(id [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.all[id]; ok {
		close(one.done)
		delete(s.all, id)
	}
}

// Stream counts a stream of a login, or reports false where the login or its person has too many.
func (s *Sessions) Stream(one *Session) (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.streams >= maxStreams || s.streams[one.Subject] >= maxStreamsOf {
		return nil, false
	}
	one.streams++
	s.streams[one.Subject]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		one.streams--
		if s.streams[one.Subject]--; s.streams[one.Subject] == 0 {
			delete(s.streams, one.Subject)
		}
	}, true
}

// enter sends who has just logged in to wire.ConsoleEnteredPath, which sees whether their browser keeps
// the cookie.
func enter(rw http.ResponseWriter, r *http.Request, next string) {
	http.Redirect(rw, r, wire.ConsoleEnteredPath+"?next="+url.QueryEscape(next), http.StatusSeeOther)
}

// Entered goes on to the page. A browser that keeps no cookie is told so: the page would send it to the
// login, and a provider that knows the person back again, without end.
func (s *Sessions) Entered(rw http.ResponseWriter, r *http.Request) {
	if _, ok := s.Of(r); !ok {
		page{Next: wire.ConsolePath, Wrong: noCookies + " Then log in again."}.write(rw, http.StatusBadRequest)
		return
	}
	rw.Header().Set("Cache-Control", "no-store")
	http.Redirect(rw, r, next(r), http.StatusSeeOther)
}

const noCookies = "Your browser does not keep the cookie of this console. Allow cookies for this address."

// next is where a person goes after the login.
func next(r *http.Request) string { return nextOf(r.FormValue("next")) }

// nextOf is a page of the console, and nowhere else.
func nextOf(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || len(to) > 512 || u.Path != wire.ConsolePath && !strings.HasPrefix(u.Path, wire.ConsolePath+"/") || strings.ContainsAny(to, "\\\r\n") {
		return wire.ConsolePath
	}
	return to
}
