package testkit

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// S3 is an object store with one account.
type S3 struct {
	URL    string
	Region string
}

// StartS3 runs an object store with an empty bucket until the test ends, and puts
// its account into the environment of the test, where the AWS SDK finds it. options are of
// the server's backend.
func StartS3(t testing.TB, region, bucket string, options ...string) *S3 {
	t.Helper()
	const access, secret = "nearcast-test", "nearcast-test-secret"
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	gateway := Tool(t, "versitygw")
	objects, at := t.TempDir(), Address(t)
	// To this server, a folder is a bucket.
	if err := os.Mkdir(filepath.Join(objects, bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	// Metadata beside the objects: not every filesystem has user attributes.
	args := append([]string{"--port", at, "--region", region, "--keep-alive", "--quiet", "posix", "--sidecar", t.TempDir()}, options...)
	cmd := exec.Command(gateway, append(args, objects)...)
	cmd.Env = append(Environ(), "ROOT_ACCESS_KEY="+access, "ROOT_SECRET_KEY="+secret)
	Start(t, cmd)
	Retry(Context(t, time.Minute), t, "the object store listens", func() error {
		conn, err := net.DialTimeout("tcp", at, time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return &S3{URL: "http://" + at, Region: region}
}
