package wire

import "time"

// The player's page asks its own router, by the cookie of the person's login.
const (
	LoginPath         = "/login"          // GET: to the provider; ?app=, ?query= of the page, ?anew=1
	LoginCallbackPath = "/login/callback" // GET: from the provider
	LoginTokenPath    = "/login/token"    // POST ?app=: a PersonToken
	LogoutPath        = "/login/out"      // POST
)

// PersonToken answers POST LoginTokenPath: what the page sends in place of a launch token, as
// "Authorization: Bearer".
type PersonToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"` // of the token: ask for another before
	// Name is the person's, for the page to show; it may be empty.
	Name string `json:"name,omitempty"`
}
