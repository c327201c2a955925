package ticket

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// LaunchTTL is the longest that a launch token may be good, from its issue.
const LaunchTTL = 15 * time.Minute

const (
	launchAudience = "nearcast-launch"
	maxSubject     = 256 // bytes
	maxLaunchNames = 32  // entries of apps, origins, sites, residency
	maxLaunchName  = 253 // bytes of each
)

// What is wrong with a launch token. Each error of Verify and Permits is one of
// these, and its text says to a developer what to change.
var (
	ErrLaunchForged   = errors.New("the launch token is not valid")
	ErrLaunchKey      = errors.New("the key of the launch token is unknown or was revoked")
	ErrLaunchAudience = errors.New("the token is for another audience")
	ErrLaunchExpired  = errors.New("the launch token has expired")
	ErrLaunchTooLong  = errors.New("the launch token is good for too long")
	ErrLaunchNotYet   = errors.New("the launch token is not valid yet")
	ErrLaunchApp      = errors.New("the launch token is for another app")
	ErrLaunchKeyApp   = errors.New("the key of the launch token may not sign for this app")
	ErrLaunchOrigin   = errors.New("the launch token is for pages of another origin")
)

// Launch is what a launch token says: a customer's statement that somebody may
// launch some apps, on these terms.
type Launch struct {
	Key string // kid
	// Customer is the key's name.
	Customer string
	Apps     []string
	// Subject is the customer's own name of the person; it may be empty.
	Subject string
	// Origins are the pages that may use the token; with none, any.
	Origins []string
	// Sites and Residency narrow where sessions run; with none, anywhere.
	Sites, Residency []string
	MaxDuration      time.Duration // of a session; 0 leaves it to the app
	MaxSessions      int           // of the subject at once; 0 is no limit
	Params, Meta     map[string]string
	Issued, Expires  time.Time

	keyMay func(app string) bool
}

// launchClaims is the JSON of a launch token. Its registered claims are checked
// while it is parsed, and the others afterwards.
type launchClaims struct {
	jwt.RegisteredClaims
	raw []byte
}

// UnmarshalJSON keeps the text for launchFields.
func (c *launchClaims) UnmarshalJSON(text []byte) error {
	c.raw = bytes.Clone(text)
	return json.Unmarshal(text, &c.RegisteredClaims)
}

// launchFields are all claims that a launch token may have. An unknown claim is
// refused: a limit that is misspelt would be no limit.
type launchFields struct {
	Issuer    string           `json:"iss,omitempty"`
	ID        string           `json:"jti,omitempty"`
	Audience  jwt.ClaimStrings `json:"aud"`
	Subject   string           `json:"sub,omitempty"`
	Issued    *jwt.NumericDate `json:"iat"`
	Expires   *jwt.NumericDate `json:"exp"`
	NotBefore *jwt.NumericDate `json:"nbf,omitempty"`

	Apps      []string          `json:"apps"`
	Origins   []string          `json:"origins,omitempty"`
	Sites     []string          `json:"sites,omitempty"`
	Residency []string          `json:"residency,omitempty"`
	Seconds   int64             `json:"max_duration_s,omitempty"`
	Sessions  int               `json:"max_sessions,omitempty"`
	Params    map[string]string `json:"params,omitempty"`
	Meta      map[string]string `json:"meta,omitempty"`
}

// Verify checks a launch token against the keys.
func (keys LaunchKeys) Verify(token string, now time.Time) (Launch, error) {
	var claims launchClaims
	var key LaunchKey
	found := parse(token, launchAudience, func() time.Time { return now }, &claims, func(kid string) (ed25519.PublicKey, bool) {
		var ok bool
		key, ok = keys[kid]
		return key.Public, ok
	})
	switch found {
	case sound, expired:
	case tooLarge:
		return Launch{}, fmt.Errorf("%w: it is longer than %d bytes", ErrLaunchForged, MaxToken)
	case malformed:
		return Launch{}, fmt.Errorf("%w: it is not a JWT, or one of its claims has a wrong type", ErrLaunchForged)
	case unknownKey:
		return Launch{}, fmt.Errorf("%w: its header's kid has to name a key that nearcast key list shows", ErrLaunchKey)
	case wrongSignature:
		return Launch{}, fmt.Errorf("%w: it is not signed with the key that its kid names, by alg EdDSA (Ed25519)", ErrLaunchForged)
	case wrongAudience:
		return Launch{}, fmt.Errorf("%w: aud has to be %q", ErrLaunchAudience, launchAudience)
	case inFuture:
		return Launch{}, fmt.Errorf("%w: its iat or nbf is in the future; compare the clocks", ErrLaunchNotYet)
	case missingClaim:
		return Launch{}, fmt.Errorf("%w: it needs aud and exp", ErrLaunchForged)
	default:
		return Launch{}, fmt.Errorf("%w: its claims are wrong", ErrLaunchForged)
	}
	var f launchFields
	dec := json.NewDecoder(bytes.NewReader(claims.raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return Launch{}, fmt.Errorf("%w: %w", ErrLaunchForged, claimError(err))
	}
	if f.Issued == nil || f.Expires == nil {
		return Launch{}, fmt.Errorf("%w: it needs iat and exp", ErrLaunchForged)
	}
	if f.Seconds < 0 || f.Seconds > math.MaxInt64/int64(time.Second) {
		return Launch{}, fmt.Errorf("%w: max_duration_s is out of range", ErrLaunchForged)
	}
	l := Launch{
		Key: key.ID, Customer: key.Name, Apps: f.Apps, Subject: f.Subject, Origins: f.Origins, Sites: f.Sites, Residency: f.Residency,
		MaxDuration: time.Duration(f.Seconds) * time.Second, MaxSessions: f.Sessions, Params: f.Params, Meta: f.Meta,
		Issued: f.Issued.UTC(), Expires: f.Expires.UTC(), keyMay: key.May,
	}
	if err := l.check(); err != nil {
		return Launch{}, err
	}
	if found == expired {
		return Launch{}, fmt.Errorf("%w at %s", ErrLaunchExpired, l.Expires.Format(time.RFC3339))
	}
	return l, nil
}

// claimError is a decoder's error without what it quotes of the token but the
// name of a claim.
func claimError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("its claim %s has a wrong type", strconv.Quote(wrong.Field))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok && len(name) < 64 {
		return fmt.Errorf("its claim %s is unknown", name)
	}
	return errors.New("one of its claims cannot be read")
}

// Permits says whether the token lets a page of an origin launch an app. origin is
// the request's header Origin, which programs do not send.
func (l Launch) Permits(app, origin string) error {
	if err := l.PermitsApp(app); err != nil || len(l.Origins) == 0 {
		return err
	}
	if origin == "" {
		return fmt.Errorf("%w: it names origins, and the request has no header Origin", ErrLaunchOrigin)
	}
	if !slices.Contains(l.Origins, origin) {
		return fmt.Errorf("%w: %s is not among its origins", ErrLaunchOrigin, strconv.Quote(origin))
	}
	return nil
}

// PermitsApp is Permits without the origin.
func (l Launch) PermitsApp(app string) error {
	if !slices.Contains(l.Apps, app) {
		return fmt.Errorf("%w: its apps do not contain %s", ErrLaunchApp, strconv.Quote(app))
	}
	if l.keyMay != nil && !l.keyMay(app) {
		return fmt.Errorf("%w: %s was not created with --app %s", ErrLaunchKeyApp, l.Key, app)
	}
	return nil
}

// Sign makes a launch token. Where they are zero, Issued becomes now and Expires
// Issued + LaunchTTL. Key is not used: the token names the key that signs it.
func (l Launch) Sign(key ed25519.PrivateKey) (string, error) {
	if l.Issued.IsZero() {
		l.Issued = time.Now()
	}
	l.Issued = l.Issued.UTC().Truncate(time.Second)
	if l.Expires.IsZero() {
		l.Expires = l.Issued.Add(LaunchTTL)
	}
	if err := l.check(); err != nil {
		return "", fmt.Errorf("sign launch token: %w", err)
	}
	fields := launchFields{
		Audience: jwt.ClaimStrings{launchAudience}, Subject: l.Subject, Apps: l.Apps,
		Issued: jwt.NewNumericDate(l.Issued), Expires: jwt.NewNumericDate(l.Expires),
		Origins: l.Origins, Sites: l.Sites, Residency: l.Residency,
		Seconds: int64(l.MaxDuration / time.Second), Sessions: l.MaxSessions, Params: l.Params, Meta: l.Meta,
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, signedFields{launchFields: fields})
	t.Header["kid"] = keyID(key.Public().(ed25519.PublicKey))
	token, err := t.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign launch token: %w", err)
	}
	if len(token) > MaxToken {
		return "", fmt.Errorf("sign launch token: %d bytes are more than the %d that will be read", len(token), MaxToken)
	}
	return token, nil
}

// signedFields are claims as the library signs them, which does not read them.
type signedFields struct {
	jwt.Claims `json:"-"`
	launchFields
}

// check says what is wrong with what a token says. Sign and Verify both use it.
func (l Launch) check() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrLaunchForged}, args...)...)
	}
	switch {
	case !l.Expires.After(l.Issued):
		return wrong("it ends before it begins")
	case l.Expires.Sub(l.Issued) > LaunchTTL:
		return fmt.Errorf("%w: exp may be at most %s after iat", ErrLaunchTooLong, LaunchTTL)
	case len(l.Apps) == 0:
		return wrong("apps has to name at least one app")
	case len(l.Subject) > maxSubject || !utf8.ValidString(l.Subject) || strings.ContainsRune(l.Subject, 0):
		return wrong("sub has to be text of at most %d bytes", maxSubject)
	case l.MaxSessions < 0:
		return wrong("max_sessions is less than 0")
	case l.MaxSessions > 0 && l.Subject == "":
		return wrong("max_sessions counts the sessions of a subject, and sub is missing")
	case l.MaxDuration < 0 || l.MaxDuration%time.Second != 0:
		return wrong("max_duration_s has to be a number of seconds")
	}
	for _, c := range []struct {
		name string
		list []string
	}{{"apps", l.Apps}, {"origins", l.Origins}, {"sites", l.Sites}, {"residency", l.Residency}} {
		if len(c.list) > maxLaunchNames {
			return wrong("%s has more than %d entries", c.name, maxLaunchNames)
		}
		for _, s := range c.list {
			if s == "" || len(s) > maxLaunchName {
				return wrong("each entry of %s has to have 1 to %d bytes", c.name, maxLaunchName)
			}
		}
	}
	for _, o := range l.Origins {
		if !validOrigin(o) {
			return wrong("an origin has the form https://host[:port], as browsers send it, not %s", strconv.Quote(o))
		}
	}
	if err := checkPairs(l.Params, l.Meta); err != nil {
		return wrong("%w", err)
	}
	return nil
}

// validOrigin reports whether a browser would send o as an Origin: in lower case,
// without a path and without the scheme's own port.
func validOrigin(o string) bool {
	u, err := url.Parse(o)
	return err == nil && (u.Scheme == "https" && u.Port() != "443" || u.Scheme == "http" && u.Port() != "80") && u.Host != "" &&
		o == u.Scheme+"://"+u.Host && o == strings.ToLower(o)
}
