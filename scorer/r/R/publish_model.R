# Publishing: files by their digest, the manifest last and only if absent. The manifest is the one commit, so readers
# see a version whole or not at all, and two publishers of one version never tear it.

#' Publish a model package to a store
#'
#' A published version never changes: publishing the same bytes again is fine, other bytes under the same name and
#' version are refused.
#'
#' @param dir The folder that [package_model()] wrote.
#' @param store `file:///folder`, a folder's path, or any other URL (`az://...`), for which the `scoregate` command is
#'   run.
#' @return A list with `name`, `version` and `digest` (the manifest's sha256), invisibly.
#' @examples
#' \dontrun{
#' publish_model("cars-interval", "file:///srv/models")
#' }
#' @export
publish_model <- function(dir, store) {
  need_arguments(c("dir", "store"), 'publish_model("cars", "file:///srv/models")')
  manifest <- read_manifest(dir)
  check_model_name(manifest$name)
  check_version(manifest$version)
  verify_files(dir, manifest)
  published <- list(name = manifest$name, version = manifest$version,
    digest = file_sha256(file.path(dir, "manifest.json")))
  folder <- store_folder(store)
  if (is.null(folder)) {
    publish_by_command(dir, store)
    return(invisible(published))
  }
  is_new <- !dir.exists(folder)
  for (name in names(manifest$files)) {
    put_blob(file.path(dir, name), file.path(folder, "blobs", "sha256"), manifest$files[[name]]$sha256)
  }
  put_signatures(file.path(dir, "manifest.json.sig"), file.path(folder, "signatures", published$digest))
  put_manifest(file.path(dir, "manifest.json"), file.path(folder, "models", manifest$name, manifest$version), published)
  message(manifest$name, " ", manifest$version, " is published in ", store)
  if (is_new) {
    message(folder, " was not there and is a new store: a scorer reads it if its SCORER_STORE_URL says so")
  }
  invisible(published)
}

#' The path of a store that is a folder, or NULL.
#' @noRd
store_folder <- function(store) {
  if (!is_text(store) || !nzchar(store)) {
    abort("store must be a URL such as file:///srv/models, or a folder's path")
  }
  if (grepl("^file://", store)) {
    path <- utils::URLdecode(sub("^file://(localhost)?", "", store))
    if (!startsWith(path, "/")) {
      abort(store, " has no absolute path: write file:///srv/models, with three slashes")
    }
    return(path)
  }
  if (!grepl("^[A-Za-z][A-Za-z0-9+.-]*://", store)) normalizePath(store, mustWork = FALSE)
}

publish_by_command <- function(dir, store) {
  command <- Sys.which("scoregate")
  if (!nzchar(command)) {
    abort("publishing to ", store, " needs the scoregate command, which is not on PATH: install the Python client, or ",
      "publish to a folder (file:///...)")
  }
  # The store is an option, and said outright: SCOREGATE_STORE may name another one.
  status <- system2(command, c("publish", "--store", shQuote(store), shQuote(normalizePath(dir))))
  if (status != 0L) {
    abort("`scoregate publish` failed with status ", status, ": see what it said above")
  }
}

# Names that end in # and digits are unfinished uploads to readers of such a store, and not listed.
unfinished <- function(path) {
  paste0(path, "#", Sys.getpid(), sprintf("%.0f", as.numeric(Sys.time()) * 1e6))
}

put_blob <- function(path, folder, digest) {
  target <- file.path(folder, digest)
  if (file.exists(target) && identical(file_sha256(target), digest)) {
    return(invisible())
  }
  make_folder(folder)
  part <- unfinished(target)
  on.exit(unlink(part))
  if (!file.copy(path, part) || !identical(file_sha256(part), digest) || !file.rename(part, target)) {
    abort("cannot write ", target, ": is there room, and is the store writable?")
  }
}

#' The signatures that `scoregate sign` wrote, each under its manifest and key, and before the manifest.
#' @noRd
put_signatures <- function(path, folder) {
  if (!file.exists(path)) {
    return(invisible())
  }
  manifest <- readBin(sub("[.]sig$", "", path), "raw", file.size(sub("[.]sig$", "", path)))
  for (line in Filter(nzchar, readLines(path, warn = FALSE))) {
    parts <- strsplit(trimws(line), " ", fixed = TRUE)[[1L]]
    key <- if (length(parts) == 3L) jsonlite::base64_dec(parts[2L])
    fits <- length(key) == 32L && tryCatch(
      sodium::sig_verify(manifest, jsonlite::base64_dec(parts[3L]), key), error = function(e) FALSE
    )
    if (!fits) {
      abort(path, " is not a signature of this manifest: run `scoregate sign` again")
    }
    make_folder(folder)
    target <- file.path(folder, substr(paste(as.character(sodium::sha256(key)), collapse = ""), 1L, 16L))
    part <- unfinished(target)
    writeLines(line, part)
    if (!file.rename(part, target)) {
      abort("cannot write ", target, ": is there room, and is the store writable?")
    }
  }
}

put_manifest <- function(path, folder, published) {
  make_folder(folder)
  target <- file.path(folder, "manifest.json")
  part <- unfinished(target)
  on.exit(unlink(part))
  if (!file.copy(path, part)) {
    abort("cannot write ", target, ": is there room, and is the store writable?")
  }
  if (suppressWarnings(file.link(part, target))) {
    return(invisible())
  }
  if (!file.exists(target)) {
    abort("cannot create ", target, ": the store's file system must know hard links; else use the scoregate command")
  }
  if (!identical(file_sha256(target), published$digest)) {
    abort(published$name, " ", published$version, " is already published with other contents, and a published version ",
      "never changes: package the model under a new version", class = "scoregate_version_exists")
  }
}

make_folder <- function(folder) {
  dir.create(folder, recursive = TRUE, showWarnings = FALSE)
  if (!dir.exists(folder)) {
    abort("cannot create the folder ", folder, ": is the store writable?")
  }
}
