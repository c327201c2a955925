package turn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// newCertificate writes a certificate and its key to one file.
func newCertificate(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "tls.pem")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	testkit.Must(t, err)
	made, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, NotAfter: time.Now().Add(time.Hour)},
		&x509.Certificate{SerialNumber: serial}, &key.PublicKey, key)
	testkit.Must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	testkit.Must(t, err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	testkit.Must(t, os.WriteFile(file, text, 0o600))
	return file
}

func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	file := newCertificate(t, dir)
	c, err := LoadCertificate(file, file, testkit.Logger(t))
	testkit.Must(t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", c.Config())
	testkit.Must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	defer func() { l.Close(); <-done }()
	serial := func() string {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		testkit.Must(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	// While it is half written, the one before serves.
	testkit.Must(t, os.WriteFile(file, []byte("half"), 0o600))
	c.mu.Lock()
	c.looked = time.Time{}
	c.mu.Unlock()
	if got := serial(); got != first {
		t.Errorf("a half-written file: %s, want %s", got, first)
	}
	newCertificate(t, dir)
	testkit.Until(t, "the new certificate is served", func() bool { return serial() != first })
	if _, err := LoadCertificate(filepath.Join(dir, "missing"), file, slog.Default()); err == nil {
		t.Error("a missing file was read")
	}
}
