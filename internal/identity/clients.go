package identity

import (
	"net/http"
	"sync"
	"time"
)

// Clients are HTTP clients, one for each process that is asked often. They keep their
// connections, as a handshake costs more than a request. They may be used by many
// goroutines at once. They follow no redirect: the parts of a site make none.
type Clients struct {
	me     *Identity
	within time.Duration

	mu   sync.Mutex
	last map[string]*client // by key
}

type client struct {
	http *http.Client
	used time.Time
}

// clientsKept is how long the client of a key is kept that is not used.
const clientsKept = 2 * time.Minute

// Clients makes clients whose requests take no longer than within.
func (i *Identity) Clients(within time.Duration) *Clients {
	return &Clients{me: i, within: within, last: map[string]*client{}}
}

// To is the client for the process that has a key.
func (c *Clients) To(key string) *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	one := c.last[key]
	if one == nil {
		for other, old := range c.last {
			if now.Sub(old.used) > clientsKept {
				old.http.CloseIdleConnections()
				delete(c.last, other)
			}
		}
		one = &client{http: &http.Client{Timeout: c.within, Transport: &http.Transport{
			TLSClientConfig: c.me.Client(key), MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
		}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
		c.last[key] = one
	}
	one.used = now
	return one.http
}

// Close closes the connections that are not in use.
func (c *Clients) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.last {
		one.http.CloseIdleConnections()
	}
}
