package login

import (
	"net/http"
	"strings"
	"time"
)

// Cookies makes the cookies of one address: HttpOnly, SameSite=Lax, for all paths, and with https
// Secure with the prefix __Host-, which no other name of the same domain can set.
type Cookies struct{ secure bool }

// CookiesOf are the cookies of an address, https://host[:port].
func CookiesOf(url string) Cookies { return Cookies{strings.HasPrefix(url, "https://")} }

// Name is how a cookie is called. Browsers take the prefix __Host- over https alone.
func (c Cookies) Name(name string) string {
	if c.secure {
		return "__Host-nearcast-" + name
	}
	return "nearcast-" + name
}

// Make makes a cookie, or with lasts 0 one that takes it away.
func (c Cookies) Make(name, value string, lasts time.Duration) *http.Cookie {
	out := &http.Cookie{Name: c.Name(name), Value: value, Path: "/", HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode,
		MaxAge: int(lasts / time.Second)}
	if lasts <= 0 {
		out.MaxAge = -1
	}
	return out
}
