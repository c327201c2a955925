package provision_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nearcast/nearcast/provision"
)

// certificate is that of a host.
type certificate struct{ keys, site, role string }

// handshake speaks TLS to Nomad's RPC as a host with that certificate, or with none.
func handshake(address string, c *certificate) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte{4}); err != nil { // what follows is TLS
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
	// With TLS 1.3 the server's refusal comes after our handshake. It says nothing
	// to a client that is welcome, until asked: then only the deadline ends the wait.
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
