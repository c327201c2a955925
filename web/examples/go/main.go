// A customer's server: a page with a player, launch tokens for the people who may play, and what
// happens to their sessions, by webhook (nearcast webhook add URL/hooks --customer NAME).
//
//	NEARCAST_URL=https://play.example.com NEARCAST_APP=cad-viewer NEARCAST_KEY=shop.launch-key.pem \
//	  NEARCAST_KEY_ID=3f1c9a7d20b4e865 NEARCAST_WEBHOOK_SECRET=whsec_… PORT=8000 go run ./web/examples/go web/examples/page.html
package main

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// key is the private key of the launch key.
func key(file string) (crypto.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the launch key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s has no PEM", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the launch key: %w", err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s has no key that signs", file)
	}
	return signer, nil
}

// launchToken is good for ten minutes: for this app, and for pages of this origin.
func launchToken(key crypto.Signer, id, app, subject, origin string) (string, error) {
	now := time.Now().Unix()
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(map[string]string{"alg": "EdDSA", "kid": id}) + "." + part(map[string]any{
		"aud": "nearcast-launch", "iat": now, "exp": now + 600, "apps": []string{app}, "sub": subject, "origins": []string{origin},
		"meta": map[string]string{"order": "4711"}, // stands in events
	})
	signature, err := key.Sign(rand.Reader, []byte(text), crypto.Hash(0))
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// signed reports whether a message is signed with the webhook's secret, and not older than five
// minutes. github.com/standard-webhooks/standard-webhooks has the same as a library.
func signed(secret string, header http.Header, body []byte) bool {
	id, sent := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return false
	}
	sum := hmac.New(sha256.New, key)
	fmt.Fprintf(sum, "%s.%s.%s", id, sent, body)
	want := "v1," + base64.StdEncoding.EncodeToString(sum.Sum(nil))
	for one := range strings.FieldsSeq(header.Get("webhook-signature")) {
		if hmac.Equal([]byte(one), []byte(want)) {
			return true
		}
	}
	return false
}

// events are what this server was told. Yours keeps ids and events in its database.
type events struct {
	mu   sync.Mutex
	ids  map[string]bool
	told []json.RawMessage
}

// take keeps an event. It may come twice, with one id.
func (e *events) take(id string, event []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ids[id] {
		e.ids[id] = true
		e.told = append(e.told, event)
	}
}

func main() {
	play, app, port := os.Getenv("NEARCAST_URL"), os.Getenv("NEARCAST_APP"), os.Getenv("PORT")
	key, err := key(os.Getenv("NEARCAST_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	page, err := os.ReadFile(os.Args[len(os.Args)-1])
	if err != nil {
		log.Fatal(err)
	}
	html := strings.NewReplacer("{{play}}", play, "{{app}}", app).Replace(string(page))
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, html)
	})
	// Here your server knows who asks, and whether they may play. Only your own page may ask.
	http.HandleFunc("POST /launch-token", func(w http.ResponseWriter, r *http.Request) {
		origin := "http://" + r.Host
		if r.Header.Get("Origin") != origin {
			http.Error(w, "this is for our own page", http.StatusForbidden)
			return
		}
		token, err := launchToken(key, os.Getenv("NEARCAST_KEY_ID"), app, "ada", origin)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprint(w, token)
	})
	all := &events{ids: map[string]bool{}}
	http.HandleFunc("POST /hooks", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil || !signed(os.Getenv("NEARCAST_WEBHOOK_SECRET"), r.Header, body) {
			http.Error(w, "the signature is wrong", http.StatusUnauthorized)
			return
		}
		all.take(r.Header.Get("webhook-id"), body)
		w.WriteHeader(http.StatusNoContent)
	})
	// Not for everybody: your server asks here who they are.
	http.HandleFunc("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		all.mu.Lock()
		defer all.mu.Unlock()
		json.NewEncoder(w).Encode(all.told)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
