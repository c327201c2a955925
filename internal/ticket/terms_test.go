package ticket

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestTermsTravel(t *testing.T) {
	s := NewSigner(newKey(t), "here")
	v := NewVerifier(s.Public())
	c := sample()
	c.Subject, c.MaxSessions, c.MaxDuration, c.Network = HashSubject("k1", "ada"), 2, 90*time.Second, "0f"
	c.Params, c.Meta = map[string]string{"model": "bridge <7>"}, map[string]string{"order": "A-1"}
	got, err := v.Verify(mustSign(t, s, c))
	if err != nil {
		t.Fatal(err)
	}
	c.Issued, c.Expires, c.First = got.Issued, got.Expires, got.First
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v of %+v", got, c)
	}
	renewed, _, err := s.Renew(got)
	if err != nil {
		t.Fatal(err)
	}
	got, err = v.Verify(renewed)
	c.Issued, c.Expires = got.Issued, got.Expires
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("renewed: %+v, %v", got, err)
	}
}

func TestTermsAreOmitted(t *testing.T) {
	s := NewSigner(newKey(t), "here")
	token := mustSign(t, s, sample())
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"usr", "net", "max", "dur", "params", "meta"} {
		if _, there := claims[name]; there {
			t.Errorf("an anonymous launch without limits carries %s", name)
		}
	}
}

func TestTermsAreChecked(t *testing.T) {
	many := map[string]string{}
	for i := range MaxPairs + 1 {
		many[fmt.Sprint("p", i)] = "x"
	}
	large := map[string]string{}
	for i := range 5 {
		large[fmt.Sprint("p", i)] = strings.Repeat("x", MaxParam)
	}
	largeMeta := map[string]string{}
	for i := range 5 {
		largeMeta[fmt.Sprint("p", i)] = strings.Repeat("x", MaxMeta)
	}
	one := func(name, value string) map[string]string { return map[string]string{name: value} }
	s := NewSigner(newKey(t), "here")
	for name, terms := range map[string]Claims{
		"subject in clear":   {Subject: "ada@example.org"},
		"subject too long":   {Subject: strings.Repeat("0", 65)},
		"network in clear":   {Network: "192.0.2.0/24"},
		"sessions below 0":   {MaxSessions: -1},
		"duration below 0":   {MaxDuration: -time.Second},
		"duration in parts":  {MaxDuration: 1500 * time.Millisecond},
		"too many params":    {Params: many},
		"params too large":   {Params: large},
		"a param too large":  {Params: one("p", strings.Repeat("x", MaxParam+1))},
		"a name too long":    {Params: one(strings.Repeat("p", MaxPairName+1), "")},
		"a name that is odd": {Params: one("a=b", "")},
		"no name":            {Params: one("", "x")},
		"a value with NUL":   {Params: one("p", "a\x00b")},
		"a value not text":   {Params: one("p", "\xff")},
		"too many meta":      {Meta: many},
		"meta too large":     {Meta: largeMeta},
		"a meta too large":   {Meta: one("p", strings.Repeat("x", MaxMeta+1))},
	} {
		t.Run(name, func(t *testing.T) {
			terms.Session, terms.App, terms.Sites = NewSession(), "cad-viewer", []string{"here"}
			if _, _, err := s.Sign(terms); err == nil {
				t.Errorf("signed %+v", terms)
			}
		})
	}

	// The largest that is allowed still fits a token.
	c := sample()
	c.Params, c.Meta = map[string]string{}, map[string]string{}
	for i := range 4 {
		c.Params[fmt.Sprint("p", i)] = strings.Repeat("x", MaxParam-2)
		c.Meta[fmt.Sprint("p", i)] = strings.Repeat("x", MaxMeta-2)
	}
	if _, _, err := s.Sign(c); err != nil {
		t.Error(err)
	}
}

// A router that was taken over may sign anything: what reads tickets checks the
// terms too.
func TestVerifyChecksTerms(t *testing.T) {
	key := newKey(t)
	s := NewSigner(key, "here")
	v := NewVerifier(s.Public())
	for name, change := range map[string]func(*payload){
		"duration that overflows": func(p *payload) { p.Seconds = 1 << 62 },
		"duration below 0":        func(p *payload) { p.Seconds = -1 },
		"subject in clear":        func(p *payload) { p.User = "ada@example.org" },
		"a value with NUL":        func(p *payload) { p.Params = map[string]string{"p": "\x00"} },
	} {
		t.Run(name, func(t *testing.T) {
			var p payload
			if _, _, err := jwt.NewParser().ParseUnverified(mustSign(t, s, sample()), &p); err != nil {
				t.Fatal(err)
			}
			change(&p)
			token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, p)
			token.Header["kid"] = s.kid
			text, err := token.SignedString(key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Verify(text); !errors.Is(err, ErrForged) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestHashSubject(t *testing.T) {
	a := HashSubject("k1", "ada")
	if len(a) != 32 || !isHex(a) || a != HashSubject("k1", "ada") {
		t.Errorf("%q", a)
	}
	for _, other := range []string{HashSubject("k2", "ada"), HashSubject("k1", "bob"), HashSubject("k", "1ada")} {
		if other == a {
			t.Error("two subjects have one hash")
		}
	}
}
