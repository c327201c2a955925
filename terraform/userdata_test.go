package terraform_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// TestUserData runs the script of a node's first boot up to install.sh, against a metadata
// service that requires a token and a bucket that requires a signature. Only paths and
// addresses are different: the node's folders, and the two servers.
func TestUserData(t *testing.T) {
	for _, program := range []string{"terraform", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	archive := release(t, "provision/install.sh", `echo "install.sh $*"; cat "$4"`)
	sum := sha256.Sum256(archive)
	for name, c := range map[string]struct {
		credentials aws.Credentials // that the bucket knows
		sum         string
		want        []string // said
		fails       bool
	}{
		"a node is set up": {role, hex.EncodeToString(sum[:]), []string{
			"install.sh --role edge --env ", "NEARCAST_ROLE='edge'", "NEARCAST_JOIN='provider=aws tag_key=a tag_value=b'",
		}, false},
		"another release than Terraform uploaded": {role, strings.Repeat("0", 64), []string{"release.tar.gz: FAILED"}, true},
		"a role without the right":                {aws.Credentials{AccessKeyID: "other", SecretAccessKey: "other"}, hex.EncodeToString(sum[:]), []string{"403"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			metadata := httptest.NewServer(http.HandlerFunc(serveMetadata))
			t.Cleanup(metadata.Close)
			bucket := httptest.NewTLSServer(&store{t: t, credentials: c.credentials, object: archive})
			t.Cleanup(bucket.Close)

			dir := t.TempDir()
			// curl connects to the bucket for all names, except for the metadata service, which
			// has its own port.
			port := strings.TrimPrefix(metadata.URL, "http://127.0.0.1:")
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bucket.Certificate().Raw})
			write(t, filepath.Join(dir, "ca.pem"), string(ca))
			write(t, filepath.Join(dir, ".curlrc"), fmt.Sprintf("connect-to = \"example.com:443:%s\"\ncacert = %q\n",
				strings.TrimPrefix(bucket.URL, "https://"), filepath.Join(dir, "ca.pem")))
			script := strings.NewReplacer(
				"http://169.254.169.254/", "http://127.0.0.1:"+port+"/",
				// The name in the test server's certificate.
				"https://system-bucket.s3.eu-central-1.amazonaws.com/", "https://example.com/",
				"/etc/nearcast", filepath.Join(dir, "etc"), "/var/lib/nearcast", filepath.Join(dir, "lib"),
				"for pause in 2 5 10 20 30 60 60 60;", "for pause in 0;",
			).Replace(userData(t, c.sum))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "sh", "-c", script)
			cmd.Env = append(os.Environ(), "HOME="+dir)
			out, err := cmd.CombinedOutput()
			if (err != nil) != c.fails {
				t.Errorf("it ended with %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
		})
	}
}

// role are the credentials of the instance in the metadata service.
var role = aws.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "a/secret+key", SessionToken: "a//token+of=many==signs"}

// userData renders the template, as Terraform does.
func userData(t *testing.T, sum string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("modules/nodes/user-data.sh.tftpl")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "user-data"), string(text))
	values := map[string]any{
		"region":  "eu-central-1",
		"release": map[string]string{"bucket": "system-bucket", "key": "release/nearcast.tar.gz", "version": "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIb_H", "sha256": sum},
		"env":     map[string]string{"NEARCAST_ROLE": "edge", "NEARCAST_JOIN": "provider=aws tag_key=a tag_value=b"},
	}
	json, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "terraform", "console")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("base64encode(templatefile(\"user-data\", %s))\n", json))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("render user data: %v", err)
	}
	script, err := base64.StdEncoding.DecodeString(strings.Trim(strings.TrimSpace(string(out)), `"`))
	if err != nil {
		t.Fatalf("decode %s: %v", out, err)
	}
	return string(script)
}

// serveMetadata is the instance metadata service, version 2 only.
func serveMetadata(w http.ResponseWriter, r *http.Request) {
	const token = "metadata-token"
	credentials := "/latest/meta-data/iam/security-credentials/"
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") != "":
		io.WriteString(w, token)
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") != token:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == credentials:
		io.WriteString(w, "nearcast-eu-central-1-edge")
	case r.URL.Path == credentials+"nearcast-eu-central-1-edge":
		fmt.Fprintf(w, "{\n  \"Code\" : \"Success\",\n  \"Type\" : \"AWS-HMAC\",\n  \"AccessKeyId\" : %q,\n  \"SecretAccessKey\" : %q,\n  \"Token\" : %q,\n  \"Expiration\" : \"2030-01-01T00:00:00Z\"\n}",
			role.AccessKeyID, role.SecretAccessKey, role.SessionToken)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// store is a bucket with one object. It signs each request again with AWS's library, and
// compares.
type store struct {
	t           *testing.T
	credentials aws.Credentials
	object      []byte
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/release/nearcast.tar.gz" || r.URL.Query().Get("versionId") != "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIb_H" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	again, err := http.NewRequest(r.Method, "https://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	hash := r.Header.Get("X-Amz-Content-Sha256")
	again.Header.Set("X-Amz-Content-Sha256", hash)
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err == nil {
		err = v4.NewSigner().SignHTTP(r.Context(), s.credentials, again, hash, "s3", "eu-central-1", at)
	}
	// curl and the library differ in spaces after commas.
	plain := func(h http.Header) string { return strings.ReplaceAll(h.Get("Authorization"), " ", "") }
	if err != nil || plain(r.Header) != plain(again.Header) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	w.Write(s.object)
}

// release is an archive with one file.
func release(t *testing.T, name, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(archive, text); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
