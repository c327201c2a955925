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
	"sync"
	"sync/atomic"
	"syscall"
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
	// It fails at first, as when a mirror does not answer.
	archive := release(t, "provision/install.sh", `echo "install.sh $*"; cat "$4"; [ -e failed ] || { : >failed; echo "the mirror is away"; exit 1; }`)
	sum := sha256.Sum256(archive)
	good, image := hex.EncodeToString(sum[:]), strings.Repeat("1", 64) // nobody has an archive with this sum
	for name, c := range map[string]struct {
		*store
		sum  string
		want []string // said
		ends bool     // else it tries for ever
	}{
		"a node is set up": {&store{credentials: role}, good, []string{
			"the mirror is away\ninstall.sh --role edge --env ", "NEARCAST_ROLE='edge'", "NEARCAST_JOIN='provider=aws tag_key=a tag_value=b'",
		}, true},
		"s3 and the metadata service fail for a while": {&store{credentials: role, fails: 4}, good, []string{"503", "install.sh --role edge --env "}, true},
		"an image has the release":                     {&store{credentials: role}, image, []string{"install.sh --role edge --env "}, true},
		"another release than Terraform uploaded":      {&store{credentials: role}, strings.Repeat("0", 64), []string{"release.tar.gz: FAILED"}, false},
		"a role without the right":                     {&store{credentials: aws.Credentials{AccessKeyID: "other", SecretAccessKey: "other"}}, good, []string{"403"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			failing := atomic.Int64{}
			failing.Store(int64(c.fails))
			metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if failing.Add(-1) >= 0 {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				serveMetadata(w, r)
			}))
			t.Cleanup(metadata.Close)
			c.t, c.object = t, archive
			bucket := httptest.NewTLSServer(c.store)
			t.Cleanup(bucket.Close)

			dir := t.TempDir()
			// curl connects to the bucket for all names, except for the metadata service, which
			// has its own port.
			port := strings.TrimPrefix(metadata.URL, "http://127.0.0.1:")
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bucket.Certificate().Raw})
			write(t, filepath.Join(dir, "ca.pem"), string(ca))
			write(t, filepath.Join(dir, ".curlrc"), fmt.Sprintf("connect-to = \"example.com:443:%s\"\ncacert = %q\n",
				strings.TrimPrefix(bucket.URL, "https://"), filepath.Join(dir, "ca.pem")))
			if c.sum == image {
				unpacked := exec.CommandContext(t.Context(), "sh", "-c", "mkdir -p lib/release && tar -xz -C lib/release && echo "+image+" >lib/unpacked.sha256")
				unpacked.Dir, unpacked.Stdin = dir, bytes.NewReader(archive)
				if out, err := unpacked.CombinedOutput(); err != nil {
					t.Fatalf("unpack: %v: %s", err, out)
				}
			}
			write(t, filepath.Join(dir, "output.log"), "what cloud-init said\n")
			script := strings.NewReplacer(
				"http://169.254.169.254/", "http://127.0.0.1:"+port+"/",
				// The name in the test server's certificate.
				"https://system-bucket.s3.eu-central-1.amazonaws.com.cn/", "https://example.com/", // of the partition aws-cn
				"/etc/nearcast", filepath.Join(dir, "etc"), "/var/lib/nearcast", filepath.Join(dir, "lib"),
				"/var/log/cloud-init-output.log", filepath.Join(dir, "output.log"), "/run/nearcast-report", filepath.Join(dir, "report"),
				"sleep $((", ": $((",
			).Replace(userData(t, c.sum, "amazonaws.com.cn"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "sh", "-c", script)
			cmd.Env = append(os.Environ(), "HOME="+dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
			said := &heard{want: c.want, all: make(chan struct{})}
			cmd.Stdout, cmd.Stderr = said, said
			ended := make(chan error, 1)
			go func() { ended <- cmd.Run() }()
			select {
			case err := <-ended:
				if err != nil || !c.ends {
					t.Errorf("it ended with %v", err)
				}
			case <-said.when(c.ends):
				cancel()
				<-ended
			}
			if missing := said.missing(); len(missing) > 0 {
				t.Errorf("it does not say %q:\n%s", missing, said.text.String())
			}
			if report := fmt.Sprint(c.reported.Load()); c.ends && report != "what cloud-init said\n" {
				t.Errorf("an operator finds %q", report)
			}
		})
	}
}

// heard collects what the script says. all is closed when it has said everything that is
// wanted.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
	want []string
	all  chan struct{}
	once sync.Once
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	h.text.Write(p)
	h.mu.Unlock()
	if len(h.missing()) == 0 {
		h.once.Do(func() { close(h.all) })
	}
	return len(p), nil
}

func (h *heard) missing() (missing []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, want := range h.want {
		if !strings.Contains(h.text.String(), want) {
			missing = append(missing, want)
		}
	}
	return missing
}

// when is closed when there is nothing more to wait for, of a script that does not end.
func (h *heard) when(ends bool) <-chan struct{} {
	if ends {
		return nil
	}
	return h.all
}

// role are the credentials of the instance in the metadata service.
var role = aws.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "a/secret+key", SessionToken: "a//token+of=many==signs"}

// userData renders the template, as Terraform does.
func userData(t *testing.T, sum, domain string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("modules/nodes/user-data.sh.tftpl")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "user-data"), string(text))
	values := map[string]any{
		"region":  "eu-central-1",
		"domain":  domain,
		"release": map[string]string{"bucket": "system-bucket", "key": "release/nearcast.tar.gz", "version": "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIb_H", "sha256": sum},
		"env":     map[string]string{"NEARCAST_ROLE": "edge", "NEARCAST_ASG": "prod-edge", "NEARCAST_JOIN": "provider=aws tag_key=a tag_value=b"},
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
	case r.URL.Path == "/latest/meta-data/instance-id":
		io.WriteString(w, "i-0123456789abcdef0")
	case r.URL.Path == credentials:
		io.WriteString(w, "nearcast-eu-central-1-edge")
	case r.URL.Path == credentials+"nearcast-eu-central-1-edge":
		fmt.Fprintf(w, "{\n  \"Code\" : \"Success\",\n  \"Type\" : \"AWS-HMAC\",\n  \"AccessKeyId\" : %q,\n  \"SecretAccessKey\" : %q,\n  \"Token\" : %q,\n  \"Expiration\" : \"2030-01-01T00:00:00Z\"\n}",
			role.AccessKeyID, role.SecretAccessKey, role.SessionToken)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// store is a bucket with one object, and with a place for a node's report. It signs each
// request again with AWS's library, and compares.
type store struct {
	t           *testing.T
	credentials aws.Credentials
	object      []byte
	fails       int          // so many requests fail, here and at the metadata service
	failed      atomic.Int64 // of them, here
	reported    atomic.Value // the last report, a string
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	get := r.Method == http.MethodGet && r.URL.Path == "/release/nearcast.tar.gz" && r.URL.Query().Get("versionId") == "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIb_H"
	put := r.Method == http.MethodPut && r.URL.Path == "/nodes/prod-edge/i-0123456789abcdef0.txt"
	switch {
	case s.failed.Add(1) <= int64(s.fails):
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case !get && !put:
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
	if put {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			s.t.Error(err)
		}
		s.reported.Store(string(body))
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
