# The same archive in each run: a new one is a change of every host.

mock_data "archive_file" {
  defaults = {
    output_path   = "made-up.tar.gz"
    output_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  }
}
