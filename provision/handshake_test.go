package provision_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nearcast/nearcast/provision"
)

// certificate names the certificate of a node.
type certificate struct{ keys, site, role string }

// handshake connects to Nomad's RPC by TLS with that certificate, or without one.
func handshake(address string, c *certificate) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte{4}); err != nil { // TLS follows
		return err
	}
	config := &tls.Config{InsecureSkipVerify: true}
	if c != nil {
		dir := filepath.Join(c.keys, c.site, c.role)
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, provision.CertFile), filepath.Join(dir, provision.KeyFile))
		if err != nil {
			return err
		}
		ca, err := os.ReadFile(filepath.Join(dir, provision.CAFile))
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		config = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "server." + c.site + ".nomad"}
	}
	secure := tls.Client(conn, config)
	if err := secure.Handshake(); err != nil {
		return err
	}
	// With TLS 1.3 the server's refusal comes after our handshake. To an accepted client it
	// sends nothing, so the deadline ends the wait.
	conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
	_, err = secure.Read(make([]byte, 1))
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return nil
	}
	if err == io.EOF || err == nil {
		return fmt.Errorf("the server closed the connection")
	}
	return err
}

// presents returns an error unless a server's RPC shows the certificate. The first byte asks
// for TLS: 4 for Nomad, 3 for Consul.
func presents(address string, c *certificate) error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(c.keys, c.site, c.role, provision.CertFile), filepath.Join(c.keys, c.site, c.role, provision.KeyFile))
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	wish := byte(4)
	if strings.HasSuffix(address, ":8300") {
		wish = 3
	}
	if _, err := conn.Write([]byte{wish}); err != nil {
		return err
	}
	secure := tls.Client(conn, &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		return err
	}
	if !bytes.Equal(secure.ConnectionState().PeerCertificates[0].Raw, pair.Certificate[0]) {
		return errors.New("it shows another certificate")
	}
	return nil
}
