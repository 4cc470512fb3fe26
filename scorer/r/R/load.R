# A model package, loaded: the manifest as it stands, the model, and a function that predicts.

#' Load a model package
#'
#' Attaches the packages the manifest names (a version other than the one it was packaged with warns), reads the model
#' and the package's own code. This runs code from the package: load only what you trust.
#'
#' @param dir The folder with `manifest.json`.
#' @param verify Whether to compare each file with its sha256 in the manifest first. The scorer has done so already.
#' @return An object of class `scoregate_model`: a list with `name`, `version`, `manifest` (as parsed), `signature`
#'   (`inputs` and `outputs`, each a list of fields with `name`, `type`, `levels` as a character vector ...), `model`,
#'   `predictor` (a function of newdata) and `drop` (columns whose missing values are scored apart). Of a function's
#'   package `fun` instead of `predictor`: see [call_function()].
#' @examples
#' \dontrun{
#' model <- load_model_package("boston-housing")
#' model$signature$inputs[[1]]$type
#' }
#' @export
load_model_package <- function(dir, verify = TRUE) {
  manifest <- read_manifest(dir)
  if (verify) verify_files(dir, manifest)
  attach_packages(manifest$packages)
  model <- readRDS(file.path(dir, "model.rds"))
  if (identical(manifest$predict$method, "function")) {
    return(structure(
      list(
        name = manifest$name, version = manifest$version, manifest = manifest, signature = manifest$signature,
        model = model, fun = load_function(dir, model, names(manifest$files))
      ),
      class = "scoregate_model"
    ))
  }
  structure(
    list(
      name = manifest$name,
      version = manifest$version,
      manifest = manifest,
      signature = manifest$signature,
      model = model,
      predictor = predictor_for(manifest$predict$method, model, manifest$predict$options, dir, manifest$files),
      drop = columns_to_drop(manifest$signature$inputs)
    ),
    class = "scoregate_model"
  )
}

#' @export
print.scoregate_model <- function(x, ...) {
  cat("<scoregate model ", x$name, " ", x$version, ": ", length(x$signature$inputs), " inputs, ",
    paste(vapply(x$signature$outputs, `[[`, "", "name"), collapse = ", "), ">\n",
    sep = ""
  )
  invisible(x)
}

#' The manifest with the levels of its fields as character vectors.
#' @noRd
read_manifest <- function(dir) {
  path <- file.path(dir, "manifest.json")
  if (!file.exists(path)) {
    abort("there is no manifest.json in ", dir, ": give the folder that package_model() wrote")
  }
  manifest <- jsonlite::fromJSON(path, simplifyVector = FALSE)
  if (!identical(manifest$format, "scoregate.model/1")) {
    abort("the format of ", path, " is not scoregate.model/1: package the model again with this version of scoregate")
  }
  manifest$signature$inputs <- lapply(manifest$signature$inputs, plain_levels)
  manifest$signature$outputs <- lapply(manifest$signature$outputs, plain_levels)
  manifest
}

plain_levels <- function(field) {
  if (!is.null(field$levels)) field$levels <- as.character(unlist(field$levels))
  field
}

columns_to_drop <- function(inputs) {
  dropped <- vapply(inputs, function(field) identical(field$missing, "drop"), NA)
  vapply(inputs[dropped], `[[`, "", "name")
}

verify_files <- function(dir, manifest) {
  for (name in names(manifest$files)) {
    path <- file.path(dir, name)
    if (!file.exists(path)) {
      abort(name, " of the model package ", dir, " is missing: copy the package again")
    }
    if (!identical(file_sha256(path), manifest$files[[name]]$sha256)) {
      abort(name, " of the model package ", dir, " is not the file that was packaged (its sha256 differs): ",
        "copy the package again or package the model again"
      )
    }
  }
}

file_sha256 <- function(path) {
  bytes_sha256(readBin(path, "raw", file.size(path)))
}

bytes_sha256 <- function(bytes) {
  paste(format(sodium::sha256(bytes)), collapse = "")
}

#' The version as the package writes it: packageVersion() turns 4.7-1.1 into 4.7.1.1.
#' @noRd
package_version_text <- function(name) {
  utils::packageDescription(name, fields = "Version")
}

attach_packages <- function(packages) {
  absent <- Filter(function(name) !nzchar(system.file(package = name)), names(packages))
  if (length(absent) > 0L) {
    abort("the model needs ", paste0(absent, " ", unlist(packages[absent]), collapse = ", "),
      ", which this R does not have: install.packages(c(", paste0('"', absent, '"', collapse = ", "), "))",
      class = "scoregate_missing_package"
    )
  }
  for (name in names(packages)) {
    suppressPackageStartupMessages(library(name, character.only = TRUE))
    here <- package_version_text(name)
    if (!identical(here, packages[[name]])) {
      warning(name, " is ", here, " here; the model was packaged with ", packages[[name]], call. = FALSE)
    }
  }
}

#' The function of newdata that answers for a model: its class's method, or the package's own code.
#' @noRd
predictor_for <- function(method, model, options, dir, files) {
  if (identical(method, "script")) {
    predict_model <- load_script(dir, names(files))
    return(function(newdata) predict_model(model, newdata))
  }
  answer <- predict_method(method)
  options <- lapply(as.list(options), unlist)
  function(newdata) answer(model, newdata, options)
}
