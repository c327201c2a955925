package provision

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names of the files in a node's folder of secrets. Package secrets makes them.
const (
	CAFile   = "ca.pem"        // the authority that signs certificates
	CertFile = "agent.pem"     // the certificate of this node's agents, Consul's and Nomad's
	KeyFile  = "agent-key.pem" // its private key

	ConsulGossipFile = "consul-gossip.key" // 32 bytes, base64
	NomadGossipFile  = "nomad-gossip.key"  // servers only: Nomad clients do not gossip

	ConsulAgentFile = "consul-agent.token" // of the Consul agent itself
	ConsulNomadFile = "consul-nomad.token" // of the Nomad agent
	ConsulSeatFile  = "consul-seat.token"  // of seats, on stream nodes
	// ConsulDriverFile is of the registrar in the driver, on stream nodes.
	ConsulDriverFile = "consul-driver.token"

	// Servers only. acl.sh sets up ACLs with the first two. With the third, other sites
	// copy ACLs from the primary site.
	ConsulManagementFile  = "consul-management.token"
	NomadManagementFile   = "nomad-management.token"
	ConsulReplicationFile = "consul-replication.token"

	// A statement of the node's site and role, signed with the operator's key. Nomad
	// creates the secrets of its tokens itself, so no token can be made beforehand: the
	// node logs in with this statement. Servers check it with the public key.
	NomadNodeFile    = "nomad-node.jwt"
	NomadNodeKeyFile = "nomad-node.pub.pem"

	// GenerationFile names the cluster's secrets as they were when this folder was made. The node
	// shows it in Consul, so that a rotation knows which nodes have what.
	GenerationFile = "generation"
)

// SecretFiles returns the names of the files that a node of the role has, except the
// ticket keys.
func SecretFiles(role Role) []string {
	names := []string{CAFile, CertFile, KeyFile, ConsulGossipFile, ConsulAgentFile, ConsulNomadFile, NomadNodeFile}
	switch role {
	case Server:
		return append(names, NomadGossipFile, ConsulManagementFile, NomadManagementFile, ConsulReplicationFile, NomadNodeKeyFile)
	case Stream:
		return append(names, ConsulSeatFile, ConsulDriverFile)
	default:
		return names
	}
}

// Secrets prove a node's identity. The zero value is for a site without TLS, gossip keys
// and ACLs: a dev cluster on one machine.
type Secrets struct {
	// Dir is the folder with CAFile, CertFile, KeyFile and the ticket keys. Keys stay in
	// their files. Tokens and gossip keys become part of the rendered files, because
	// Consul and Nomad take them in no other way.
	Dir string
	TLS bool
	ACL bool

	ConsulGossip, NomadGossip                          string
	ConsulAgent, ConsulNomad, ConsulSeat, ConsulDriver string
	ConsulManagement, NomadManagement, ConsulReplica   string

	// TicketKeys is the file with the routers' public keys.
	TicketKeys string
	// Generation is empty where an earlier release made the folder.
	Generation string
	// CertName is the first name of the node's certificate, and CertUntil the end of its time.
	CertName, CertUntil string
}

// LoadSecrets reads a role's folder of secrets. The error names each missing file.
func LoadSecrets(dir string, role Role) (Secrets, error) {
	s := Secrets{Dir: dir, TLS: true, ACL: true, TicketKeys: filepath.Join(dir, "ticket-keys.pem")}
	var errs []error
	into := map[string]*string{
		ConsulGossipFile: &s.ConsulGossip, NomadGossipFile: &s.NomadGossip, ConsulAgentFile: &s.ConsulAgent,
		ConsulNomadFile: &s.ConsulNomad, ConsulSeatFile: &s.ConsulSeat, ConsulDriverFile: &s.ConsulDriver, ConsulManagementFile: &s.ConsulManagement,
		NomadManagementFile: &s.NomadManagement, ConsulReplicationFile: &s.ConsulReplica,
	}
	for _, name := range SecretFiles(role) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s is missing in %s, and a %s node needs it: make it with nearcast provision secrets", name, dir, role)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		value := strings.TrimSpace(string(text))
		if strings.HasSuffix(name, "-gossip.key") {
			if key, err := base64.StdEncoding.DecodeString(value); err != nil || len(key) != 32 {
				errs = append(errs, fmt.Errorf("%s does not hold 32 bytes in base64", filepath.Join(dir, name)))
			}
		}
		if field := into[name]; field != nil {
			*field = value
		}
	}
	generation, err := os.ReadFile(filepath.Join(dir, GenerationFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	s.Generation = strings.TrimSpace(string(generation))
	if s.CertName, s.CertUntil, err = certificate(filepath.Join(dir, CertFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return Secrets{}, fmt.Errorf("load secrets: %w", err)
	}
	return s, nil
}

// certificate reads what a node shows of its certificate.
func certificate(path string) (name, until string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", "", fmt.Errorf("%s is no PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", path, err)
	}
	if len(cert.DNSNames) > 0 {
		name = cert.DNSNames[0]
	}
	return name, cert.NotAfter.UTC().Format(time.RFC3339), nil
}
