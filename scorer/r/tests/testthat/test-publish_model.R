store <- function() new_folder()

test_that("files are stored by their digest and the manifest under name and version, again is fine", {
  dir <- pack(lm(dist ~ speed, cars), cars, name = "cars", version = "1.2")
  folder <- store()
  expect_message(first <- publish_model(dir, paste0("file://", folder)), "cars 1.2 is published")
  expect_message(second <- publish_model(dir, folder), "is published")
  expect_identical(first, second)
  expect_identical(first$digest, file_sha256(file.path(folder, "models", "cars", "1.2", "manifest.json")))
  blob <- read_manifest(dir)$files$model.rds$sha256
  expect_setequal(list.files(folder, recursive = TRUE),
    c(file.path("blobs", "sha256", blob), "models/cars/1.2/manifest.json"))
})

test_that("other bytes under a published version are refused and leave it as it was", {
  folder <- store()
  suppressMessages(publish_model(pack(lm(dist ~ speed, cars), cars, name = "cars"), folder))
  before <- file_sha256(file.path(folder, "models/cars/1/manifest.json"))
  other <- pack(lm(dist ~ 1 + log(speed), cars), cars, name = "cars")
  expect_error(publish_model(other, folder), "never changes", class = "scoregate_version_exists")
  expect_identical(file_sha256(file.path(folder, "models/cars/1/manifest.json")), before)
})

test_that("of several that publish different bytes as one version at once, one wins and it is whole", {
  skip_on_os("windows")
  folder <- store()
  packages <- vapply(1:4, function(i) {
    pack(list(i = i), cars["speed"], name = "race", predict = function(model, newdata) newdata$speed * model$i)
  }, "")
  won <- unlist(parallel::mclapply(packages, function(dir) {
    tryCatch({
      suppressMessages(publish_model(dir, folder))
      TRUE
    }, scoregate_version_exists = function(e) FALSE)
  }, mc.cores = 4L))
  expect_identical(sum(won), 1L)
  expect_identical(file_sha256(file.path(folder, "models/race/1/manifest.json")),
    file_sha256(file.path(packages[won], "manifest.json")))
})

test_that("a package whose files were changed is not published", {
  dir <- pack(lm(dist ~ speed, cars), cars)
  saveRDS(1, file.path(dir, "model.rds"))
  folder <- store()
  expect_error(publish_model(dir, folder), "sha256 differs")
  expect_false(dir.exists(folder))
})

test_that("a version with leading zeros is neither packaged nor published", {
  expect_error(pack(lm(dist ~ speed, cars), cars, version = "01"), "write \"1\"")
  x <- list(x = "double")
  expect_error(package_function(sqrt, "root", "1.01", x, x, list(x = 4), new_folder()), "write \"1.1\"")
  dir <- pack(lm(dist ~ speed, cars), cars)
  manifest <- readLines(file.path(dir, "manifest.json"))
  writeLines(sub("\"version\": \"1\"", "\"version\": \"01\"", manifest), file.path(dir, "manifest.json"))
  expect_error(publish_model(dir, store()), "write \"1\"")
})

test_that("a damaged blob is replaced", {
  dir <- pack(lm(dist ~ speed, cars), cars)
  folder <- store()
  blob <- file.path(folder, "blobs", "sha256", read_manifest(dir)$files$model.rds$sha256)
  make_folder(dirname(blob))
  writeLines("half", blob)
  suppressMessages(publish_model(dir, folder))
  expect_identical(file_sha256(blob), basename(blob))
})

test_that("stores are folders by path or file URL; other URLs need the command", {
  expect_identical(store_folder("file:///a%20b/c"), "/a b/c")
  expect_identical(store_folder("file://localhost/a"), "/a")
  expect_null(store_folder("az://container/models"))
  expect_error(store_folder("file://relative"), "three slashes")
  expect_error(store_folder(""), "store must be a URL")
  path <- Sys.getenv("PATH")
  on.exit(Sys.setenv(PATH = path))
  Sys.setenv(PATH = "")
  expect_error(publish_by_command("x", "az://c"), "install the Python client")
})

test_that("the command is given the store that was named, whichever SCOREGATE_STORE names", {
  skip_on_os("windows")
  commands <- new_folder()
  dir.create(commands)
  writeLines(c("#!/bin/sh", "printf '%s\\n' \"$@\" >\"$0.arguments\""), file.path(commands, "scoregate"))
  Sys.chmod(file.path(commands, "scoregate"))
  before <- Sys.getenv(c("PATH", "SCOREGATE_STORE"), names = TRUE)
  on.exit(do.call(Sys.setenv, as.list(before)))
  Sys.setenv(PATH = paste0(commands, ":", before[["PATH"]]), SCOREGATE_STORE = "file:///elsewhere")
  dir <- pack(lm(dist ~ speed, cars), cars)
  publish_model(dir, "az://container/my models")
  expect_identical(readLines(file.path(commands, "scoregate.arguments")),
    c("publish", "--store", "az://container/my models", normalizePath(dir)))
})

test_that("the real command takes the store it is given", {
  skip_if(!nzchar(Sys.which("scoregate")), "the scoregate command is not on PATH")
  dir <- pack(lm(dist ~ speed, cars), cars)
  said <- tempfile()
  code <- tempfile(fileext = ".R")
  write_utf8(sprintf("get(\"publish_by_command\", %s)(%s, \"nowhere://container/models\")", load_this_package(),
    deparse(dir)), code)
  system2(file.path(R.home("bin"), "Rscript"), shQuote(code), stdout = said, stderr = said)
  expect_match(paste(readLines(said), collapse = " "), "nowhere://container/models is not a store")
})
