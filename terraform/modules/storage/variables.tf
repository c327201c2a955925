variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "backup_region" {
  description = "Where the bucket of backups is: another region."
  type        = string
}

variable "force_destroy" {
  type = bool
}

variable "release" {
  description = "The release's file."
  type        = string
}

variable "release_arm64" {
  description = "The file for arm64, or null."
  type        = string
}
