package ticket

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// launchKey is a key, registered for apps.
func launchKey(t testing.TB, private ed25519.PrivateKey, apps ...string) LaunchKey {
	t.Helper()
	id, text, err := DescribeLaunchKey(private.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseLaunchKey(id, "shop", text, apps)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func register(keys ...LaunchKey) LaunchKeys {
	all := LaunchKeys{}
	for _, k := range keys {
		all[k.ID] = k
	}
	return all
}

func TestLaunchTokenTravels(t *testing.T) {
	private := newKey(t)
	key := launchKey(t, private, "chess", "golf")
	now := time.Now().Truncate(time.Second)
	want := Launch{
		Apps: []string{"chess"}, Subject: "ada", Origins: []string{"https://shop.example"}, Sites: []string{"eu-west-1"},
		Residency: []string{"eu"}, MaxDuration: 10 * time.Minute, MaxSessions: 2, Params: map[string]string{"model": "bridge"},
		Meta: map[string]string{"order": "7"}, Issued: now, Expires: now.Add(time.Minute),
	}
	token, err := want.Sign(private)
	if err != nil {
		t.Fatal(err)
	}
	got, err := register(key).Verify(token, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		app, origin string
		want        error
	}{
		{"chess", "https://shop.example", nil},
		{"chess", "https://other.example", ErrLaunchOrigin},
		{"chess", "null", ErrLaunchOrigin},
		{"chess", "", ErrLaunchOrigin},
		{"golf", "https://shop.example", ErrLaunchApp},
	} {
		if err := got.Permits(c.app, c.origin); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s from %q: %v, want %v", c.app, c.origin, err, c.want)
		}
	}
	want.Key, want.Customer, got.keyMay = key.ID, key.Name, nil
	want.Issued, want.Expires = want.Issued.UTC(), want.Expires.UTC()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLaunchKeyApps(t *testing.T) {
	private := newKey(t)
	token, err := Launch{Apps: []string{"chess", "golf"}}.Sign(private)
	if err != nil {
		t.Fatal(err)
	}
	l, err := register(launchKey(t, private, "golf")).Verify(token, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Permits("golf", ""); err != nil {
		t.Error(err)
	}
	if err := l.Permits("chess", ""); !errors.Is(err, ErrLaunchKeyApp) {
		t.Errorf("an app that the key may not sign for: %v", err)
	}
	if l, err = register(launchKey(t, private)).Verify(token, time.Now()); err != nil || l.Permits("chess", "") != nil {
		t.Errorf("a key for all apps: %v, %v", err, l.Permits("chess", ""))
	}
}

// launchJWT signs claims that Sign would refuse.
func launchJWT(t testing.TB, method jwt.SigningMethod, key any, kid string, change func(jwt.MapClaims), header map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	claims := jwt.MapClaims{"aud": launchAudience, "sub": "ada", "iat": now, "exp": now + 60, "apps": []string{"chess"}}
	if change != nil {
		change(claims)
	}
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = kid
	for k, v := range header {
		token.Header[k] = v
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestLaunchTokenRefused(t *testing.T) {
	private, other := newKey(t), newKey(t)
	key := launchKey(t, private)
	keys := register(key)
	now := time.Now().Unix()
	set := func(name string, value any) string {
		return launchJWT(t, jwt.SigningMethodEdDSA, private, key.ID, func(c jwt.MapClaims) { c[name] = value }, nil)
	}
	drop := func(name string) string {
		return launchJWT(t, jwt.SigningMethodEdDSA, private, key.ID, func(c jwt.MapClaims) { delete(c, name) }, nil)
	}
	if _, err := keys.Verify(set("iss", "shop"), time.Now()); err != nil {
		t.Fatalf("the sample is refused: %v", err)
	}
	many := make([]string, maxLaunchNames+1)
	for i := range many {
		many[i] = fmt.Sprint("app", i)
	}
	ticketOfRouter := mustSign(t, NewSigner(private, "here"), sample())
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"empty":                     {"", ErrLaunchForged},
		"words":                     {"let me in", ErrLaunchForged},
		"too large":                 {strings.Repeat("a", MaxToken+1), ErrLaunchForged},
		"alg none":                  {launchJWT(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, key.ID, nil, nil), ErrLaunchForged},
		"alg HS256 with public key": {launchJWT(t, jwt.SigningMethodHS256, []byte(key.Public), key.ID, nil, nil), ErrLaunchForged},
		"critical header":           {launchJWT(t, jwt.SigningMethodEdDSA, private, key.ID, nil, map[string]any{"crit": []string{"b64"}, "b64": true}), ErrLaunchForged},
		"another key, our kid":      {launchJWT(t, jwt.SigningMethodEdDSA, other, key.ID, nil, nil), ErrLaunchForged},
		"unknown key":               {launchJWT(t, jwt.SigningMethodEdDSA, other, launchKey(t, other).ID, nil, nil), ErrLaunchKey},
		"no kid":                    {launchJWT(t, jwt.SigningMethodEdDSA, private, "", nil, nil), ErrLaunchKey},
		"a router's ticket":         {ticketOfRouter, ErrLaunchAudience},
		"no audience":               {drop("aud"), ErrLaunchForged},
		"no expiry":                 {drop("exp"), ErrLaunchForged},
		"no issue time":             {drop("iat"), ErrLaunchForged},
		"expired":                   {launchJWT(t, jwt.SigningMethodEdDSA, private, key.ID, func(c jwt.MapClaims) { c["iat"], c["exp"] = now-100, now-50 }, nil), ErrLaunchExpired},
		"expired and odd":           {launchJWT(t, jwt.SigningMethodEdDSA, private, key.ID, func(c jwt.MapClaims) { c["iat"], c["exp"], c["odd"] = now-100, now-50, 1 }, nil), ErrLaunchForged},
		"16 minutes":                {set("exp", now+16*60), ErrLaunchTooLong},
		"backwards":                 {set("exp", now-20), ErrLaunchForged},
		"issued in the future":      {launchJWT(t, jwt.SigningMethodEdDSA, private, key.ID, func(c jwt.MapClaims) { c["iat"], c["exp"] = now+100, now+200 }, nil), ErrLaunchNotYet},
		"not before":                {set("nbf", now+100), ErrLaunchNotYet},
		"no apps":                   {drop("apps"), ErrLaunchForged},
		"apps is a text":            {set("apps", "chess"), ErrLaunchForged},
		"an app without a name":     {set("apps", []string{""}), ErrLaunchForged},
		"too many apps":             {set("apps", many), ErrLaunchForged},
		"a misspelt limit":          {set("max_session", 1), ErrLaunchForged},
		"sessions below 0":          {set("max_sessions", -1), ErrLaunchForged},
		"sessions of nobody":        {launchJWT(t, jwt.SigningMethodEdDSA, private, key.ID, func(c jwt.MapClaims) { delete(c, "sub"); c["max_sessions"] = 1 }, nil), ErrLaunchForged},
		"subject too long":          {set("sub", strings.Repeat("a", maxSubject+1)), ErrLaunchForged},
		"duration below 0":          {set("max_duration_s", -1), ErrLaunchForged},
		"duration overflows":        {set("max_duration_s", int64(1)<<62), ErrLaunchForged},
		"duration in parts":         {set("max_duration_s", 1.5), ErrLaunchForged},
		"origin with a path":        {set("origins", []string{"https://shop.example/"}), ErrLaunchForged},
		"origin in capitals":        {set("origins", []string{"https://Shop.example"}), ErrLaunchForged},
		"origin with its port":      {set("origins", []string{"https://shop.example:443"}), ErrLaunchForged},
		"origin *":                  {set("origins", []string{"*"}), ErrLaunchForged},
		"params are numbers":        {set("params", map[string]any{"a": 1}), ErrLaunchForged},
		"params too large":          {set("params", map[string]any{"a": strings.Repeat("x", MaxParam+1)}), ErrLaunchForged},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := keys.Verify(c.token, time.Now())
			if !errors.Is(err, c.want) {
				t.Fatalf("got %+v, %v; want %v", got, err, c.want)
			}
			if c.token != "" && strings.Contains(err.Error(), c.token) {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
	// What is misspelt is named.
	if _, err := keys.Verify(set("max_session", 1), time.Now()); !strings.Contains(err.Error(), `"max_session"`) {
		t.Errorf("%v", err)
	}
	// A ticket's verifier does not take a launch token that its own key signed.
	if _, err := NewVerifier(key.Public).Verify(set("iss", "nearcast-router/here")); !errors.Is(err, ErrForged) {
		t.Errorf("a launch token as a ticket: %v", err)
	}
}

func TestLaunchKeyFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.pem")
	private, err := GenerateLaunchKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	before, _ := os.ReadFile(path)
	if _, err := GenerateLaunchKey(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second key over the first: %v", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the key was replaced")
	}
	if loaded, err := LoadLaunchKey(path); err != nil || !loaded.Equal(private) {
		t.Errorf("loaded another key: %v", err)
	}
	id, text, err := DescribeLaunchKey(private.Public().(ed25519.PublicKey))
	if err != nil || !ValidLaunchKeyID(id) {
		t.Fatal(id, err)
	}
	publicPath := filepath.Join(t.TempDir(), "public.pem")
	os.WriteFile(publicPath, []byte(text), 0o644)
	for _, p := range []string{path, publicPath} {
		if public, err := LoadLaunchPublic(p); err != nil || !public.Equal(private.Public()) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := LoadLaunchKey(publicPath); err == nil {
		t.Error("a public key was loaded as a private one")
	}
	for name, c := range map[string][2]string{
		"another id": {"0123456789abcdef", text}, "two keys": {id, text + text}, "words": {id, "key"}, "private": {id, string(before)},
	} {
		if _, err := ParseLaunchKey(c[0], "", c[1], nil); err == nil {
			t.Errorf("%s was parsed", name)
		}
	}
}

func FuzzLaunchToken(f *testing.F) {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	keys := register(launchKey(f, private, "chess"))
	now := time.Unix(1_800_000_000, 0)
	good, err := Launch{Apps: []string{"chess"}, Subject: "ada", Issued: now, Origins: []string{"https://shop.example"}}.Sign(private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(good[:len(good)-9] + "\n" + good[len(good)-9:]) // found by this fuzzer
	f.Add("..")
	known := []error{ErrLaunchForged, ErrLaunchKey, ErrLaunchAudience, ErrLaunchExpired, ErrLaunchTooLong, ErrLaunchNotYet}
	f.Fuzz(func(t *testing.T, token string) {
		l, err := keys.Verify(token, now)
		if err == nil && token != good {
			t.Fatalf("took a token that we did not sign: %+v", l)
		}
		for _, k := range known {
			if errors.Is(err, k) {
				return
			}
		}
		if err != nil {
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}

// FuzzLaunchClaims signs whatever claims there are: a customer's server may be
// taken over, and its tokens are no reason to fall over.
func FuzzLaunchClaims(f *testing.F) {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	keys := register(launchKey(f, private))
	now := time.Unix(1_800_000_000, 0)
	f.Add(`{"aud":"nearcast-launch","iat":1800000000,"exp":1800000060,"apps":["chess"],"max_duration_s":5}`)
	f.Add(`{"aud":["nearcast-launch"],"iat":1.8e9,"exp":1800000060.5,"apps":[],"params":{"a":"b"}}`)
	signer := NewSigner(newKey(f), "here")
	f.Fuzz(func(t *testing.T, claims string) {
		head := encodeSegment(fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, keyID(private.Public().(ed25519.PublicKey)))) + "." + encodeSegment(claims)
		token := head + "." + encodeSegment(string(ed25519.Sign(private, []byte(head))))
		l, err := keys.Verify(token, now)
		if err != nil {
			return
		}
		if l.Expires.Sub(l.Issued) > LaunchTTL || len(l.Apps) == 0 || l.MaxSessions < 0 || l.MaxDuration < 0 {
			t.Fatalf("took %+v", l)
		}
		// What holds as a launch token can be said in a ticket.
		c := sample()
		c.MaxSessions, c.MaxDuration, c.Params, c.Meta = l.MaxSessions, l.MaxDuration, l.Params, l.Meta
		if err := c.checkTerms(); err != nil {
			t.Fatalf("a ticket cannot say %+v: %v", l, err)
		}
		if _, _, err := signer.Sign(c); err != nil && !strings.Contains(err.Error(), "will be read") {
			t.Fatal(err)
		}
	})
}

func encodeSegment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Of several faults a developer is told the same one each time.
func TestLaunchFaultsHaveAnOrder(t *testing.T) {
	l := Launch{
		Apps: []string{""}, Origins: []string{""}, Sites: []string{""}, Residency: []string{""},
		Issued: time.Unix(1, 0), Expires: time.Unix(2, 0),
	}
	for range 20 {
		if err := l.check(); err == nil || !strings.Contains(err.Error(), "each entry of apps ") {
			t.Fatalf("%v", err)
		}
	}
	l = Launch{Apps: []string{"a"}, Params: map[string]string{"a": "\x00", "b": "\x00", "c": "\x00", "d": "\x00"}, Issued: l.Issued, Expires: l.Expires}
	for range 20 {
		if err := l.check(); err == nil || !strings.Contains(err.Error(), "the value of a ") {
			t.Fatalf("%v", err)
		}
	}
}
