package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestUpload uploads to a real object store, and checks the errors of wrong arguments.
func TestUpload(t *testing.T) {
	const access, secret, bucket = "nearcast-test", "nearcast-test-secret", "backups"
	gateway := testkit.Tool(t, "versitygw")
	address := fmt.Sprintf("127.0.0.1:%d", testkit.Ports(t, 1)[0])
	cmd := exec.Command(gateway, "--port", address, "--region", "site-a", "--quiet", "posix", "--sidecar", t.TempDir(), t.TempDir())
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+access, "ROOT_SECRET_ACCESS_KEY="+secret)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	store := s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + address), Region: "site-a", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	})
	if _, err := store.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	env, file, text := filepath.Join(dir, "provision.env"), filepath.Join(dir, "a.snap"), bytes.Repeat([]byte("snapshot"), 1<<17)
	for path, text := range map[string][]byte{
		env: []byte("NEARCAST_ROLE='server'\nNEARCAST_SITE='site-a'\nNEARCAST_S3_ENDPOINT='http://" + address +
			"'\nNEARCAST_S3_PATH_STYLE='yes'\nNEARCAST_BACKUP_URL='s3://" + bucket + "'\n"),
		file: text,
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(file, to string) error {
		c := Command()
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs([]string{"upload", "--env", env, file, to})
		return c.ExecuteContext(ctx)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	if err := run(file, "s3://"+bucket+"/backups/a.snap"); err != nil {
		t.Fatal(err)
	}
	got, err := store.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("backups/a.snap")})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if there, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(there, text) {
		t.Errorf("the object holds %d bytes, %v; want %d", len(there), err, len(text))
	}

	for _, wrong := range []struct{ file, to, say string }{
		{file, "https://" + bucket + "/a", "is not s3://BUCKET/KEY"},
		{file, "s3://" + bucket, "is not s3://BUCKET/KEY"},
		{filepath.Join(dir, "none"), "s3://" + bucket + "/a", "no such file"},
		{file, "s3://no-such-bucket/a", "NoSuchBucket"},
	} {
		if err := run(wrong.file, wrong.to); err == nil || !strings.Contains(err.Error(), wrong.say) {
			t.Errorf("upload %s %s: %v, want it to say %q", wrong.file, wrong.to, err, wrong.say)
		}
	}
}
