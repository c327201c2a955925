package secrets

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/nearcast/nearcast/provision"
)

// caValidFor is how long the authority is valid: long, because a new one means new
// secrets for every node at once.
const caValidFor = 10 * 365 * 24 * time.Hour

// Issuer and Audience of the statements with which nodes log in to Nomad; acl.sh makes
// Nomad require them.
const (
	Issuer   = "nearcast-operator"
	Audience = "nomad"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

type signer struct{ key *ecdsa.PrivateKey }

func (m *maker) authority() (*authority, error) {
	key, fresh, err := m.key("ca-key.pem")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(m.Dir, "ca.pem"))
	if fresh || errors.Is(err, fs.ErrNotExist) {
		if text, err = authorityCert(key, m.Now); err != nil {
			return nil, err
		}
		if err := m.put("ca.pem", text); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	// While the authority is rotated, nodes trust two, and one of them signs.
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("ca.pem does not belong to ca-key.pem: restore the pair, or remove both to start again with new secrets for all nodes")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("ca.pem: %w", err)
		}
		if key.PublicKey.Equal(cert.PublicKey) {
			return &authority{cert, key}, nil
		}
	}
}

func authorityCert(key *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Nearcast agents"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caValidFor),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// certificate makes or renews a node's certificate, with the names that the agents
// require: only a server's certificate names a server.
func (m *maker) certificate(certPath, keyPath string, ca *authority, site string, role provision.Role) error {
	if text, err := os.ReadFile(filepath.Join(m.Dir, certPath)); err == nil {
		cert, err := parseCert(text)
		_, keyErr := os.Stat(filepath.Join(m.Dir, keyPath))
		if err == nil && keyErr == nil && cert.CheckSignatureFrom(ca.cert) == nil && !m.old(cert.NotBefore, cert.NotAfter) {
			return nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	what := "client"
	if role == provision.Server {
		what = "server"
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: string(role) + "." + site},
		NotBefore: m.Now.Add(-time.Hour), NotAfter: m.Now.Add(m.ValidFor),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{what + "." + site + ".consul", what + "." + site + ".nomad", "localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return err
	}
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	// The certificate last: if it is missing, the next run makes both again.
	if err := os.Remove(filepath.Join(m.Dir, certPath)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := m.put(keyPath, private); err != nil {
		return err
	}
	return m.put(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// The key pair that signs the statements with which nodes log in to Nomad.
const (
	nodeKeyFile       = "node-key.pem"
	nodePublicKeyFile = "node-key.pub.pem"
)

// nodeSigner reads that pair, or makes it.
func (m *maker) nodeSigner() (*signer, error) {
	key, _, err := m.key(nodeKeyFile)
	if err != nil {
		return nil, err
	}
	public, err := encodePublic(key)
	if err != nil {
		return nil, err
	}
	also, err := os.ReadFile(filepath.Join(m.Dir, alsoFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &signer{key}, m.put(nodePublicKeyFile, append(public, also...))
}

type claims struct {
	jwt.RegisteredClaims
	Site string `json:"site"`
	Role string `json:"role"`
}

func (m *maker) statement(path string, s *signer, site string, role provision.Role) error {
	if text, err := os.ReadFile(filepath.Join(m.Dir, path)); err == nil {
		var c claims
		_, err := jwt.ParseWithClaims(strings.TrimSpace(string(text)), &c, func(*jwt.Token) (any, error) { return &s.key.PublicKey, nil },
			jwt.WithValidMethods([]string{"ES256"}), jwt.WithTimeFunc(func() time.Time { return m.Now }))
		if err == nil && c.ExpiresAt != nil && c.IssuedAt != nil && !m.old(c.IssuedAt.Time, c.ExpiresAt.Time) {
			return nil
		}
	}
	issued := m.Now.Add(-time.Hour) // the clocks of nodes differ
	signed, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: Issuer, Audience: jwt.ClaimStrings{Audience}, Subject: site + "/" + string(role),
			IssuedAt: jwt.NewNumericDate(issued), NotBefore: jwt.NewNumericDate(issued), ExpiresAt: jwt.NewNumericDate(m.Now.Add(m.ValidFor)),
		},
		Site: site, Role: string(role),
	}).SignedString(s.key)
	if err != nil {
		return err
	}
	return m.put(path, []byte(signed+"\n"))
}

// old reports whether less than a third of the time is left.
func (m *maker) old(from, until time.Time) bool {
	return m.Now.After(until.Add(-until.Sub(from) / 3))
}

// key reads a private key. fresh: it made a new one, because there was none.
func (m *maker) key(name string) (key *ecdsa.PrivateKey, fresh bool, err error) {
	text, err := os.ReadFile(filepath.Join(m.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, false, err
		}
		if text, err = encodeKey(key); err != nil {
			return nil, false, err
		}
		return key, true, m.put(name, text)
	}
	if err != nil {
		return nil, false, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, false, fmt.Errorf("%s is not a PEM file", name)
	}
	if key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
		return nil, false, fmt.Errorf("%s: %w", name, err)
	}
	return key, false, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not a PEM file")
	}
	return x509.ParseCertificate(block.Bytes)
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n
}
