// A customer's server: a page with a player, and launch tokens for the people who may play.
//
//	NEARCAST_URL=https://play.example.com NEARCAST_APP=cad-viewer NEARCAST_KEY=shop.launch-key.pem \
//	  NEARCAST_KEY_ID=3f1c9a7d20b4e865 PORT=8000 go run ./web/examples/go web/examples/page.html
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
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
	})
	signature, err := key.Sign(rand.Reader, []byte(text), crypto.Hash(0))
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
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
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
