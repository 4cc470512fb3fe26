skip_on_os(c("mac", "windows", "solaris"))

# The scripts want the package in a library, as in real life: the one it was loaded from, or a new one made from source.
library_of_tests <- function() {
  source <- getNamespaceInfo("scoregate", "path")
  if (!dir.exists(file.path(source, "inst"))) {
    return(dirname(source))
  }
  library <- tempfile("library-")
  dir.create(library)
  out <- system2(file.path(R.home("bin"), "R"), c("CMD", "INSTALL", "--no-docs", "--no-test-load", "-l",
    shQuote(library), shQuote(source)), stdout = TRUE, stderr = TRUE)
  if (!dir.exists(file.path(library, "scoregate"))) stop(paste(out, collapse = "\n"))
  library
}

run_script <- function(library, name, ...) {
  script <- file.path(library, "scoregate", "scripts", name)
  out <- suppressWarnings(system2(file.path(R.home("bin"), "Rscript"), c("--vanilla", shQuote(script), shQuote(c(...))),
    stdout = TRUE, stderr = TRUE, env = paste0("R_LIBS=", library)))
  list(status = c(attr(out, "status"), 0L)[1], said = paste(out, collapse = "\n"))
}

test_that("files become a package, and a package's answers for a file come out as a binary frame", {
  library <- library_of_tests()
  work <- new_folder()
  dir.create(work)
  path <- function(name) file.path(work, name)
  set.seed(1)
  fit <- randomForest::randomForest(Species ~ ., iris, ntree = 5)
  saveRDS(fit, path("fit.rds"))
  write.csv(iris, path("iris.csv"), row.names = FALSE)

  done <- run_script(library, "package.R", "--model", path("fit.rds"), "--sample", path("iris.csv"), "--name", "iris",
    "--version", "1", "--out", path("iris"), "--slim", "--description", "Flowers of 'three' kinds")
  expect_identical(done$status, 0L, info = done$said)
  expect_match(done$said, "batchable: yes")

  done <- run_script(library, "expected.R", path("iris"), path("iris.csv"), path("out.bin"))
  expect_identical(done$status, 0L, info = done$said)
  expected <- model_predict(fit, iris, list())
  out <- file(path("out.bin"), "rb")
  on.exit(close(out))
  expect_identical(readBin(out, "integer", 1L), 150L)
  expect_identical(readBin(out, "integer", 150L), as.integer(expected$class))
  for (level in levels(iris$Species)) {
    expect_identical(readBin(out, "double", 150L), expected[[paste0("prob.", level)]])
  }
  expect_length(readBin(out, "raw", 1L), 0L)

  frame <- file(path("in.bin"), "wb")
  writeBin(150L, frame)
  for (column in iris[1:4]) writeBin(column, frame)
  close(frame)
  done <- run_script(library, "expected.R", path("iris"), path("in.bin"), path("out2.bin"))
  expect_identical(done$status, 0L, info = done$said)
  expect_identical(file_sha256(path("out2.bin")), file_sha256(path("out.bin")))

  wrong <- run_script(library, "package.R", "--model", path("fit.rds"))
  expect_identical(wrong$status, 1L)
  expect_match(wrong$said, "Usage: --sample is missing")
  wrong <- run_script(library, "package.R", "--model", path("fit.rds"), "--sample", path("iris.csv"), "--name", "Iris",
    "--version", "1", "--out", path("iris2"))
  expect_identical(wrong$status, 1L)
  expect_match(wrong$said, "Error: the name \"Iris\" is not a model name")
})
