package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/wire"
)

// ErrStranger is the error of a handshake with a process that is none of those wanted.
var ErrStranger = errors.New("the other process is not the part of this site that it should be")

// Identity is a process's own key. It may be used by many goroutines at once.
type Identity struct {
	cert tls.Certificate
	key  string
}

// New makes a key.
func New() (*Identity, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("make a certificate of the key: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate of the key: %w", err)
	}
	return &Identity{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, key: fingerprint(leaf)}, nil
}

// Key is the fingerprint of the public key, 43 letters: SHA-256 of its
// SubjectPublicKeyInfo, as base64url.
func (i *Identity) Key() string { return i.key }

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Peer is what Consul knows of the process that registered a key.
type Peer struct {
	Service string
	ID      string // of the record
	Node    string // of the Consul agent with which it is registered
}

// Peers finds who has registered a key. Its error is ErrStranger if nobody has.
type Peers interface {
	Peer(ctx context.Context, key string) (Peer, error)
}

// Client is for connections to the process that has a key.
func (i *Identity) Client(key string) *tls.Config {
	c := i.config()
	// The certificate is only what carries the key, which VerifyConnection compares.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if key == "" {
			return fmt.Errorf("%w: its record has no key; it may be of an earlier release", ErrStranger)
		}
		if KeyOf(&state) != key {
			return fmt.Errorf("%w: it has another key than its record", ErrStranger)
		}
		return nil
	}
	return c
}

// Server takes connections of these services, and of nobody else.
func (i *Identity) Server(peers Peers, services ...string) *tls.Config {
	c := i.config()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		one := i.config()
		one.ClientAuth = tls.RequireAnyClientCert
		one.VerifyConnection = func(state tls.ConnectionState) error {
			return check(hello.Context(), &state, peers, services)
		}
		return one, nil
	}
	return c
}

// Open takes connections of everybody. A client may show its key, for Only and Caller.
func (i *Identity) Open() *tls.Config {
	c := i.config()
	c.ClientAuth = tls.RequestClientCert
	return c
}

func (i *Identity) config() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{i.cert}, MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true,
		// One key exchange, and no post-quantum one beside it, which would double the memory
		// of a handshake: a brain may have 2,000 at once.
		CurvePreferences: []tls.CurveID{tls.X25519},
	}
}

// KeyOf is the fingerprint of the key that the other end has proven to have; empty if it
// has shown none.
func KeyOf(state *tls.ConnectionState) string {
	if state == nil || len(state.PeerCertificates) == 0 {
		return ""
	}
	return fingerprint(state.PeerCertificates[0])
}

// Caller is who made a request.
func Caller(r *http.Request, peers Peers) (Peer, error) { return peerOf(r.Context(), r.TLS, peers) }

func peerOf(ctx context.Context, state *tls.ConnectionState, peers Peers) (Peer, error) {
	key := KeyOf(state)
	if key == "" {
		return Peer{}, fmt.Errorf("%w: it has shown no key", ErrStranger)
	}
	return peers.Peer(ctx, key)
}

func check(ctx context.Context, state *tls.ConnectionState, peers Peers, services []string) error {
	peer, err := peerOf(ctx, state, peers)
	if err == nil && !slices.Contains(services, peer.Service) {
		err = fmt.Errorf("%w: it is %s", ErrStranger, peer.Service)
	}
	return err
}

// Only lets requests of these services through to next, and refuses all others. It needs a
// listener with Open or Server.
func Only(next http.Handler, peers Peers, services ...string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := check(r.Context(), r.TLS, peers, services); err != nil {
			Refuse(rw, services...)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// Refuse answers a request that only these services may make.
func Refuse(rw http.ResponseWriter, services ...string) {
	answer.Write(rw, wire.Problem{Type: wire.ProblemForbidden, Title: "Only for other parts of the site", Status: http.StatusForbidden,
		Detail: "Only " + strings.Join(services, " and ") + " may ask this, by TLS with the key that its record in Consul names."})
}
