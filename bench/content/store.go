package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	bucket    = "bench"
	region    = "us-east-1"
	accessKey = "nearcast-bench"
	secretKey = "nearcast-bench-secret"
)

// objectStore is a versitygw process.
type objectStore struct {
	address string
	dir     string
	client  *s3.Client
	server  *exec.Cmd
}

func startStore(ctx context.Context, program, dir string) (*objectStore, error) {
	objects, meta := filepath.Join(dir, "objects"), filepath.Join(dir, "meta")
	// To this server, a folder is a bucket.
	for _, d := range []string{filepath.Join(objects, bucket), meta} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &objectStore{address: l.Addr().String(), dir: dir}
	l.Close()
	// Metadata in files of its own, as in a dev cluster.
	s.server = exec.Command(program, "--port", s.address, "--region", region, "--health", "/healthz", "--keep-alive", "--quiet", "posix", "--sidecar", meta, objects)
	s.server.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	s.server.Stderr = os.Stderr
	s.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.server.Start(); err != nil {
		return nil, fmt.Errorf("start the object store: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if answer, err := http.Get("http://" + s.address + "/healthz"); err == nil {
			answer.Body.Close()
			break
		}
		select {
		case <-limited.Done():
			return nil, errors.Join(errors.New("the object store does not listen"), s.close())
		case <-tick.C:
		}
	}
	s.client = s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + s.address), Region: region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
	return s, nil
}

func (s *objectStore) close() error {
	if err := s.server.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = s.server.Wait() // its exit status says that it was ended
	return nil
}

// processor is the processor time that the store has used.
func (s *objectStore) processor() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.server.Process.Pid))
	if err != nil {
		return 0, err
	}
	// After the name, which may have spaces: fields 14 and 15 are user and system time.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read the store's processor time: %q", stat)
	}
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, fmt.Errorf("read the store's processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / userHz), nil
}

// userHz is how many ticks a second the kernel counts for programs, on each architecture
// that this runs on.
const userHz = 100

// fill uploads the objects of a shape, unless an earlier run did.
func (s *objectStore) fill(ctx context.Context, sh shape) error {
	done := filepath.Join(s.dir, "filled-"+sh.name)
	put := s.put
	if sh.size >= 32<<20 {
		put, done = s.putInParts, done+"-crc64nvme"
	}
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	say("filling the store with %s", sh.name)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range sh.count {
		group.Go(func() error { return put(gctx, sh.key(i), io.LimitReader(newNoise(i), sh.size)) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("fill the store: %w", err)
	}
	return os.WriteFile(done, nil, 0o644)
}

// put uploads an object in one request.
func (s *objectStore) put(ctx context.Context, key string, body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	_, err = s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(data)})
	return err
}

// putInParts uploads an object in parts, with the checksum that the AWS CLI gives it. What
// the SDK's transfer manager gives it is a checksum of checksums, with which nothing can be verified.
func (s *objectStore) putInParts(ctx context.Context, key string, body io.Reader) error {
	const algorithm = types.ChecksumAlgorithmCrc64nvme
	upload, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: aws.String(bucket), Key: &key, ChecksumAlgorithm: algorithm, ChecksumType: types.ChecksumTypeFullObject,
	})
	if err != nil {
		return err
	}
	var parts []types.CompletedPart
	for last := false; !last; {
		data, err := io.ReadAll(io.LimitReader(body, 16<<20))
		if err != nil {
			return err
		}
		if last = len(data) < 16<<20; len(data) == 0 {
			break
		}
		number := aws.Int32(int32(len(parts) + 1))
		part, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: aws.String(bucket), Key: &key, UploadId: upload.UploadId, PartNumber: number, Body: bytes.NewReader(data), ChecksumAlgorithm: algorithm,
		})
		if err != nil {
			return err
		}
		parts = append(parts, types.CompletedPart{ETag: part.ETag, PartNumber: number, ChecksumCRC64NVME: part.ChecksumCRC64NVME})
	}
	_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: aws.String(bucket), Key: &key, UploadId: upload.UploadId, ChecksumType: types.ChecksumTypeFullObject,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return err
}

// key is where an object is: a thousand in each folder, as in an app with many files.
func (s shape) key(i int) string { return fmt.Sprintf("%s/%03d/%06d", s.name, i/1000, i) }

// newNoise is an endless stream that does not compress.
func newNoise(seed int) io.Reader {
	var key [32]byte
	copy(key[:], fmt.Sprint(seed))
	return rand.NewChaCha8(key)
}

// environ is the environment of a process with the store's account.
func environ() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") {
			env = append(env, e)
		}
	}
	return append(env, "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey, "AWS_REGION="+region,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
}
