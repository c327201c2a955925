package ticket

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sample() Claims {
	return Claims{Session: NewSession(), App: "cad-viewer", Version: 1<<63 + 1, Sites: []string{"eu-west-1", "us-east-1"}}
}

func mustSign(t testing.TB, s *Signer, c Claims) string {
	t.Helper()
	token, _, err := s.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestSignAndVerify(t *testing.T) {
	s := NewSigner(newKey(t), "eu-west-1")
	now := time.Date(2026, 3, 4, 5, 6, 7, 890, time.UTC)
	s.now = func() time.Time { return now }
	v := NewVerifier(newKey(t).Public().(ed25519.PublicKey), s.Public())
	v.now = s.now

	want := sample()
	token, expires, err := s.Sign(want)
	if err != nil {
		t.Fatal(err)
	}
	if !expires.Equal(now.Truncate(time.Second).Add(TTL)) {
		t.Errorf("expires %s, issued %s", expires, now)
	}
	got, err := v.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if got.Session != want.Session || got.App != want.App || got.Version != want.Version ||
		strings.Join(got.Sites, " ") != "eu-west-1 us-east-1" ||
		!got.Expires.Equal(expires) || !got.First.Equal(got.Issued) || !got.Issued.Equal(now.Truncate(time.Second)) {
		t.Errorf("got %+v of %+v", got, want)
	}
	if !got.Allows("us-east-1") || got.Allows("us-east") {
		t.Error("Allows does not follow Sites")
	}
}

func TestExpiry(t *testing.T) {
	s := NewSigner(newKey(t), "here")
	issued := time.Now().Truncate(time.Second)
	s.now = func() time.Time { return issued }
	v := NewVerifier(s.Public())
	token := mustSign(t, s, sample())
	for _, c := range []struct {
		name  string
		after time.Duration
		want  error
	}{
		{"at once", 0, nil},
		{"verifier's clock is a little behind", -Leeway, nil},
		{"verifier's clock is far behind", -Leeway - time.Second, ErrForged},
		{"just before the end", TTL - time.Second, nil},
		{"within the leeway", TTL + Leeway - time.Millisecond, nil},
		{"after the leeway", TTL + Leeway, ErrExpired},
		{"a day later", 24 * time.Hour, ErrExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			v.now = func() time.Time { return issued.Add(c.after) }
			if _, err := v.Verify(token); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestClocksOfTwoSites has one site's router sign and another's renew, with
// clocks that disagree by as much as they may.
func TestClocksOfTwoSites(t *testing.T) {
	key := newKey(t)
	now := time.Now().Truncate(time.Second)
	for _, skew := range []time.Duration{-Leeway, -Leeway / 2, Leeway / 2, Leeway - time.Second} {
		t.Run(skew.String(), func(t *testing.T) {
			one, two := NewSigner(key, "one"), NewSigner(key, "two")
			one.now = func() time.Time { return now }
			two.now = func() time.Time { return now.Add(skew) }
			there := NewVerifier(two.Public())
			there.now = two.now
			claims, err := there.Verify(mustSign(t, one, sample()))
			if err != nil {
				t.Fatalf("the other site refuses: %v", err)
			}
			token, expires, err := two.Renew(claims)
			if err != nil {
				t.Fatalf("renew: %v", err)
			}
			if left := expires.Sub(two.now()); left != TTL {
				t.Errorf("renewed for %v", left)
			}
			here := NewVerifier(one.Public())
			here.now = one.now
			back, err := here.Verify(token)
			if err != nil {
				t.Fatalf("the first site refuses what the other renewed: %v", err)
			}
			if back.First.After(claims.First) {
				t.Error("a renewal made the wait begin later")
			}
		})
	}
}

// forge signs whatever it is told to, as an attacker with or without our key.
func forge(t *testing.T, key any, method jwt.SigningMethod, kid string, change func(jwt.MapClaims)) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": "nearcast-router/here", "aud": "nearcast-seat", "sub": NewSession(),
		"iat": now.Unix(), "exp": now.Add(TTL).Unix(), "first": now.Unix(),
		"app": "a", "ver": 1, "sites": []string{"here"},
	}
	if change != nil {
		change(claims)
	}
	tok := jwt.NewWithClaims(method, claims)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	text, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestForged(t *testing.T) {
	key, other := newKey(t), newKey(t)
	public := key.Public().(ed25519.PublicKey)
	kid := keyID(public)
	v := NewVerifier(public)
	good := forge(t, key, jwt.SigningMethodEdDSA, kid, nil)
	if _, err := v.Verify(good); err != nil {
		t.Fatalf("the ticket that all cases vary is refused: %v", err)
	}
	parts := strings.Split(good, ".")
	with := func(change func(jwt.MapClaims)) string {
		return forge(t, key, jwt.SigningMethodEdDSA, kid, change)
	}
	set := func(name string, value any) string {
		return with(func(c jwt.MapClaims) { c[name] = value })
	}
	drop := func(name string) string { return with(func(c jwt.MapClaims) { delete(c, name) }) }
	payloadOf := func(change map[string]any) string {
		raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
		var m map[string]any
		json.Unmarshal(raw, &m)
		for k, x := range change {
			m[k] = x
		}
		raw, _ = json.Marshal(m)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	for name, token := range map[string]string{
		"empty":                     "",
		"words":                     "let me in",
		"two parts":                 parts[0] + "." + parts[1],
		"four parts":                good + ".",
		"no signature":              parts[0] + "." + parts[1] + ".",
		"changed payload":           parts[0] + "." + payloadOf(map[string]any{"app": "b"}) + "." + parts[2],
		"changed signature":         parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"padded":                    good + "=",
		"a line break in it":        good[:len(good)-9] + "\n" + good[len(good)-9:],
		"a carriage return after":   good + "\r",
		"too long":                  good + strings.Repeat("A", MaxToken),
		"alg none":                  forge(t, jwt.UnsafeAllowNoneSignatureType, jwt.SigningMethodNone, kid, nil),
		"alg HS256 with public key": forge(t, []byte(public), jwt.SigningMethodHS256, kid, nil),
		"another key":               forge(t, other, jwt.SigningMethodEdDSA, keyID(other.Public().(ed25519.PublicKey)), nil),
		"another key, our kid":      forge(t, other, jwt.SigningMethodEdDSA, kid, nil),
		"no kid":                    forge(t, key, jwt.SigningMethodEdDSA, "", nil),
		"other audience":            set("aud", "somebody"),
		"no audience":               drop("aud"),
		"other issuer":              set("iss", "somebody"),
		"no issuer":                 drop("iss"),
		"no expiry":                 drop("exp"),
		"no issue time":             drop("iat"),
		"no first issue":            drop("first"),
		"good for a year":           set("exp", time.Now().AddDate(1, 0, 0).Unix()),
		"issued tomorrow":           with(func(c jwt.MapClaims) { c["iat"], c["exp"] = time.Now().Unix()+86400, time.Now().Unix()+86430 }),
		"first after issue":         set("first", time.Now().Add(time.Hour).Unix()),
		"no session":                set("sub", ""),
		"session is a path":         set("sub", "s-../../../../etc/passwd/aaaaa"),
		"no app":                    set("app", ""),
		"no sites":                  set("sites", []string{}),
		"sites are a number":        set("sites", 3),
		"expired and other issuer":  with(func(c jwt.MapClaims) { c["iat"], c["exp"], c["first"], c["iss"] = 1, 2, 1, "somebody" }),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := v.Verify(token)
			if !errors.Is(err, ErrForged) || errors.Is(err, ErrExpired) {
				t.Fatalf("got %+v, %v", c, err)
			}
			if token != "" && strings.Contains(err.Error(), token) {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	s := NewSigner(newKey(t), "here")
	for name, change := range map[string]func(*Claims){
		"no session": func(c *Claims) { c.Session = "" },
		"no app":     func(c *Claims) { c.App = "" },
		"no sites":   func(c *Claims) { c.Sites = nil },
		"too long":   func(c *Claims) { c.Expires = time.Now().Add(time.Hour) },
		"backwards":  func(c *Claims) { c.Expires = time.Now().Add(-time.Hour) },
		"too many sites": func(c *Claims) {
			c.Sites = strings.Split(strings.Repeat("a-site-somewhere ", 500), " ")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := sample()
			change(&c)
			if token, _, err := s.Sign(c); err == nil || token != "" {
				t.Errorf("signed %+v", c)
			}
		})
	}
}

func TestRenew(t *testing.T) {
	s := NewSigner(newKey(t), "here")
	first := time.Now().Truncate(time.Second)
	now := first
	s.now = func() time.Time { return now }
	v := NewVerifier(s.Public())
	v.now = s.now
	token := mustSign(t, s, sample())
	for renewals := 0; ; renewals++ {
		c, err := v.Verify(token)
		if err != nil {
			t.Fatal(err)
		}
		if !c.First.Equal(first) {
			t.Fatalf("renewal %d forgot the first issue", renewals)
		}
		now = now.Add(50 * time.Second)
		next, expires, err := s.Renew(c)
		if errors.Is(err, ErrWaited) {
			if waited := now.Sub(first); waited < MaxWait || waited > MaxWait+50*time.Second {
				t.Errorf("refused after %s", waited)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if expires.After(first.Add(MaxWait)) {
			t.Fatalf("renewal %d is good until %s, past the hour", renewals, expires)
		}
		token = next
	}
}

func TestGenerateKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if err := GenerateKeys(dir); err != nil {
		t.Fatal(err)
	}
	private, public := filepath.Join(dir, PrivateKeyFile), filepath.Join(dir, PublicKeysFile)
	if info, err := os.Stat(private); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("private key: %v, %v", info.Mode(), err)
	}
	s, err := LoadSigner(private, "here")
	if err != nil {
		t.Fatal(err)
	}
	v, err := LoadVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	token := mustSign(t, s, sample())
	if _, err := v.Verify(token); err != nil {
		t.Error(err)
	}

	before, _ := os.ReadFile(private)
	if err := GenerateKeys(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second key over the first: %v", err)
	}
	if after, _ := os.ReadFile(private); string(after) != string(before) {
		t.Error("the private key was replaced")
	}

	// Rotation: both keys hold, at once, in the verifier that is running.
	if err := os.Rename(private, private+".old"); err != nil {
		t.Fatal(err)
	}
	if err := GenerateKeys(dir); err != nil {
		t.Fatal(err)
	}
	s2, err := LoadSigner(private, "here")
	if err != nil {
		t.Fatal(err)
	}
	for name, signer := range map[string]*Signer{"old": s, "new": s2} {
		if _, err := v.Verify(mustSign(t, signer, sample())); err != nil {
			t.Errorf("%s key: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".ticket-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), PublicKeysFile)
	dirs := [2]string{t.TempDir(), t.TempDir()}
	var signers [2]*Signer
	var keys [2][]byte
	for i, dir := range dirs {
		if err := GenerateKeys(dir); err != nil {
			t.Fatal(err)
		}
		var err error
		if signers[i], err = LoadSigner(filepath.Join(dir, PrivateKeyFile), "here"); err != nil {
			t.Fatal(err)
		}
		if keys[i], err = os.ReadFile(filepath.Join(dir, PublicKeysFile)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(keys[0])
	v, err := LoadVerifier(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, first, second bool) {
		t.Helper()
		for i, want := range []bool{first, second} {
			if _, err := v.Verify(mustSign(t, signers[i], sample())); (err == nil) != want {
				t.Errorf("%s: key %d: %v", when, i, err)
			}
		}
	}
	check("first key only", true, false)
	write(keys[1]) // same size, in place, within the clock's resolution
	check("second key only", false, true)
	write([]byte("half a fi"))
	check("broken file", false, true)
	_, err = v.Verify(mustSign(t, signers[0], sample()))
	if err == nil || !strings.Contains(err.Error(), "not a PEM block") {
		t.Errorf("an unknown key while the file is broken: %v; want to be told of the file", err)
	}
	os.Remove(path)
	check("no file", false, true)
	write(append(append([]byte{}, keys[0]...), keys[1]...))
	check("both keys", true, true)

	// Once the file has been left alone it is not read again for every ticket.
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	check("settled", true, true)
	if !v.settled {
		t.Error("a file written a minute ago is still read for every ticket")
	}
	write(keys[0])
	check("after settling", true, false)
}

func TestBadKeyFiles(t *testing.T) {
	dir := t.TempDir()
	if err := GenerateKeys(dir); err != nil {
		t.Fatal(err)
	}
	private, _ := os.ReadFile(filepath.Join(dir, PrivateKeyFile))
	public, _ := os.ReadFile(filepath.Join(dir, PublicKeysFile))
	garbage := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("no")})
	garbagePrivate := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("no")})
	path := filepath.Join(dir, "file")
	for name, text := range map[string][]byte{
		"empty": nil, "words": []byte("keys, keys, keys"), "private key": append(public, private...), "garbage": garbage,
	} {
		os.WriteFile(path, text, 0o600)
		if _, err := LoadVerifier(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("verifier of %s: %v; want an error that names the file", name, err)
		}
	}
	for name, text := range map[string][]byte{
		"empty": nil, "words": []byte("keys"), "public key": public, "garbage": garbagePrivate,
	} {
		os.WriteFile(path, text, 0o600)
		_, err := LoadSigner(path, "here")
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("signer of %s: %v; want an error that names the file", name, err)
		}
	}
	if _, err := LoadVerifier(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("verifier of no file: %v", err)
	}
	if _, err := LoadSigner(filepath.Join(dir, "none"), "here"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("signer of no file: %v", err)
	}
}

func TestSession(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewSession()
		if !ValidSession(id) || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
	random := strings.Repeat("a", 26)
	for _, site := range []string{"eu-west-1", "dc1", "a", "x_y", strings.Repeat("z", 64), strings.Repeat("z", 26), "-"} {
		if id := NewSessionAt(site); !ValidSession(id) || SiteOf(id) != site {
			t.Errorf("%q names %q, want %q", id, SiteOf(id), site)
		}
	}
	if id := NewSession(); SiteOf(id) != "" {
		t.Errorf("%q names %q", id, SiteOf(id))
	}
	for _, id := range []string{"", "s-", "s--" + random, "s-a/b-" + random, "s-A-" + random, "s-..-" + random, "s-eu" + random,
		"s-" + strings.Repeat("z", 65) + "-" + random, "s-" + strings.Repeat("a", 25), "s-" + strings.Repeat("a", 27), "s-" + strings.Repeat("A", 26), "s-" + strings.Repeat("/", 26), "t-" + strings.Repeat("a", 26)} {
		if ValidSession(id) {
			t.Errorf("%q passes", id)
		}
	}
}

// TestVerifySession checks that an old ticket proves whose session it is, for a while,
// and is good for nothing else.
func TestVerifySession(t *testing.T) {
	s := NewSigner(newKey(t), "here")
	v := NewVerifier(s.Public())
	now := time.Now()
	v.now = func() time.Time { return now }
	want := sample()
	token := mustSign(t, s, want)
	for _, c := range []struct {
		after time.Duration
		good  bool
	}{{0, true}, {2 * TTL, true}, {SessionFor, true}, {SessionFor + 2*TTL, false}} {
		now = time.Now().Add(c.after)
		got, err := v.VerifySession(token)
		if (err == nil) != c.good || c.good && got.Session != want.Session || !c.good && got.Session != "" {
			t.Errorf("after %s: %+v, %v", c.after, got, err)
		}
		if got, err := v.Verify(token); c.after > 0 && (!errors.Is(err, ErrExpired) || got.Session != "") {
			t.Errorf("after %s it is still a ticket: %+v, %v", c.after, got, err)
		}
	}
	now = time.Now()
	if _, err := NewVerifier(NewSigner(newKey(t), "there").Public()).VerifySession(token); !errors.Is(err, ErrForged) {
		t.Errorf("with another key: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	s := NewSigner(key, "here")
	issued := time.Unix(1_800_000_000, 0)
	s.now = func() time.Time { return issued }
	v := NewVerifier(s.Public())
	v.now = s.now
	c := sample()
	c.Session = "s-" + strings.Repeat("a", 26)
	good := mustSign(f, s, c)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(good + "\n")
	f.Add("..")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","kid":null}`)) + ".e30.")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := v.Verify(token)
		if err == nil && token != good {
			t.Fatalf("took a token we did not sign: %+v", got)
		}
		if err != nil && !errors.Is(err, ErrForged) && !errors.Is(err, ErrExpired) {
			t.Fatalf("neither forged nor expired: %v", err)
		}
	})
}
