package ticket

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestLogin: a login and a login token say what was signed, for as long as they may, and neither is taken
// in the place of the other, of a ticket, or of a launch token.
func TestLogin(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	signer, other := NewSigner(newKey(t), "r"), NewSigner(newKey(t), "r")
	verifier := NewVerifier(signer.Public())
	signer.now, other.now = func() time.Time { return now }, func() time.Time { return now }
	verifier.now = func() time.Time { return now }
	want := Login{Provider: "https://login.example", Subject: "4711", Name: "Ada", Groups: []string{HashGroup("staff")}, Expires: now.Add(time.Hour).UTC()}
	login, err := signer.SignLogin(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := verifier.VerifyLogin(login); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if strings.Contains(login, "staff") {
		t.Error("the browser reads the name of a group")
	}
	token, expires, err := signer.SignLoginToken("viewer", HashSubject("k", "4711"), want)
	if err != nil || !expires.Equal(now.Add(LoginTokenTTL)) {
		t.Errorf("until %s, %v", expires, err)
	}
	if got, err := verifier.VerifyLoginToken(token); err != nil || got.App != "viewer" || got.Subject != HashSubject("k", "4711") {
		t.Errorf("%+v, %v", got, err)
	}
	ticket, _, err := signer.Sign(Claims{Session: NewSession(), App: "viewer", Sites: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"ticket": ticket, "login token": token, "nothing": "", "changed": login[:len(login)-4] + "AAAA"} {
		if _, err := verifier.VerifyLogin(text); !errors.Is(err, ErrForged) {
			t.Errorf("%s is taken for a login: %v", name, err)
		}
	}
	for name, text := range map[string]string{"ticket": ticket, "login": login} {
		if _, err := verifier.VerifyLoginToken(text); !errors.Is(err, ErrForged) {
			t.Errorf("%s is taken for a login token: %v", name, err)
		}
	}
	for name, text := range map[string]string{"login": login, "login token": token} {
		if _, err := verifier.Verify(text); !errors.Is(err, ErrForged) {
			t.Errorf("a %s is taken for a ticket: %v", name, err)
		}
		if _, err := verifier.VerifySession(text); !errors.Is(err, ErrForged) {
			t.Errorf("a %s is taken for the proof of a session: %v", name, err)
		}
	}
	forged, _ := other.SignLogin(want)
	if _, err := verifier.VerifyLogin(forged); !errors.Is(err, ErrForged) {
		t.Errorf("another key: %v", err)
	}

	// The login ends, and nothing that follows from it lasts longer.
	short, expires, err := signer.SignLoginToken("viewer", HashSubject("k", "4711"), Login{Expires: now.Add(time.Minute)})
	if err != nil || !expires.Equal(now.Add(time.Minute)) {
		t.Errorf("a token outlives its login: %s, %v", expires, err)
	}
	now = now.Add(time.Minute + Leeway)
	if _, err := verifier.VerifyLoginToken(short); !errors.Is(err, ErrExpired) {
		t.Errorf("an old token: %v", err)
	}
	now = now.Add(time.Hour)
	if _, err := verifier.VerifyLogin(login); !errors.Is(err, ErrExpired) {
		t.Errorf("an old login: %v", err)
	}
	now = now.Add(-3 * time.Hour)
	if _, err := verifier.VerifyLogin(login); !errors.Is(err, ErrForged) {
		t.Errorf("a login of the future: %v", err)
	}
}

func TestLoginIsBounded(t *testing.T) {
	signer := NewSigner(newKey(t), "r")
	groups := func(n int) (out []string) {
		for i := range n {
			out = append(out, HashGroup(fmt.Sprint(i)))
		}
		return out
	}
	soon := time.Now().Add(time.Hour)
	most := Login{Provider: "p", Subject: strings.Repeat("s", 255), Name: strings.Repeat("n", 100), Groups: groups(MaxLoginGroups), Expires: soon}
	text, err := signer.SignLogin(most)
	if err != nil || len(text) > MaxLogin {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	got, err := NewVerifier(signer.Public()).VerifyLogin(text)
	if err != nil || len(got.Groups) < 90 || got.Groups[0] != most.Groups[0] {
		t.Errorf("%d groups, %v", len(got.Groups), err)
	}
	// JSON writes six bytes for each of these: the last groups have no room.
	odd := most
	odd.Subject = strings.Repeat("\x01", 255)
	text, err = signer.SignLogin(odd)
	if err != nil || len(text) > MaxLogin || len(text) < MaxLogin-100 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if got, err = NewVerifier(signer.Public()).VerifyLogin(text); err != nil || len(got.Groups) == 0 || len(got.Groups) == MaxLoginGroups || got.Groups[0] != odd.Groups[0] {
		t.Errorf("%d groups, %v", len(got.Groups), err)
	}
	odd.Name, odd.Provider = strings.Repeat("\x01", 100), strings.Repeat("<", 255)
	if _, err := signer.SignLogin(odd); err == nil {
		t.Error("a login is signed that no cookie has room for")
	}
	for name, l := range map[string]Login{
		"no provider":     {Subject: "s", Expires: soon},
		"a long provider": {Provider: strings.Repeat("p", 256), Subject: "s", Expires: soon},
		"no subject":      {Provider: "p", Expires: soon},
		"a long subject":  {Provider: "p", Subject: strings.Repeat("s", 257), Expires: soon},
		"too many groups": {Provider: "p", Subject: "s", Groups: groups(MaxLoginGroups + 1), Expires: soon},
		"too long":        {Provider: "p", Subject: "s", Expires: time.Now().Add(MaxLoginTTL + time.Minute)},
	} {
		if _, err := signer.SignLogin(l); err == nil {
			t.Errorf("%s is signed", name)
		}
	}
}
