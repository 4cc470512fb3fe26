test_that("a package has the manifest the scorer reads, and says how it went", {
  dir <- new_folder()
  told <- said(package_model(lm(dist ~ speed, cars), "cars", 2, sample = cars, dir = dir, description = "Stops"))
  expect_match(told, "scores its sample .50 rows. as in your session.*batchable: yes.*written to")
  manifest <- jsonlite::fromJSON(file.path(dir, "manifest.json"), simplifyVector = FALSE)
  expect_identical(names(manifest), c("format", "name", "version", "created", "description", "r_version", "model_class",
    "packages", "files", "predict", "signature", "batchable", "batchable_reason", "retry", "measured", "example"))
  expect_identical(manifest$version, "2")
  expect_identical(manifest$model_class, list("lm"))
  expect_identical(manifest$packages, stats::setNames(list(), character()))
  expect_identical(manifest$files$model.rds$sha256, file_sha256(file.path(dir, "model.rds")))
  expect_identical(manifest$signature$kind, "vector")
  expect_identical(manifest$signature$inputs,
    list(list(name = "speed", type = "double", nullable = TRUE, range = list(4L, 25L), missing = "na")))
  expect_true(manifest$batchable && manifest$retry)
  expect_named(manifest$measured, c("load_bytes", "fixed_ms", "row_ms", "peak_64_rows_bytes", "left_64_rows_bytes"))
  expect_length(manifest$example$inputs$speed, 12L)
})

test_that("a model that looks at the other rows is packaged as not batchable, with the reason", {
  dir <- pack(NULL, cars, predict = function(model, newdata) newdata$speed - mean(newdata$speed))
  manifest <- read_manifest(dir)
  expect_false(manifest$batchable)
  expect_match(manifest$batchable_reason, "depends on the rows beside it")
})

test_that("a predict function has the columns its code names, its packages, and its files", {
  lookup <- file.path(tempdir(), "lookup.R")
  writeLines("scale_of <- c(a = 1, b = 10)", lookup)
  sample <- data.frame(kind = factor(c("a", "b", "a")), x = c(1, 2, 3), y = 0)
  dir <- pack(list(k = 2), sample, files = lookup, inputs = c("kind", "x"), predict = function(model, newdata) {
    stopifnot(is.function(nnet::class.ind))
    unname(scale_of[as.character(newdata$kind)]) * newdata$x * model$k
  })
  expect_identical(answers(dir, sample)$prediction, c(2, 40, 6))
  manifest <- read_manifest(dir)
  expect_named(manifest$files, c("lookup.R", "model.rds", "score.R"))
  expect_named(manifest$packages, "nnet")
  expect_identical(manifest$predict$method, "script")
})

test_that("what only the session has is found in the fresh process, and told what to do", {
  assign("threshold_of_session", 5, envir = globalenv())
  on.exit(rm("threshold_of_session", envir = globalenv()))
  expect_error(
    pack(NULL, cars, predict = function(model, newdata) as.numeric(newdata$speed > threshold_of_session)),
    "fresh R process with no package attached .* threshold_of_session is not in the model"
  )
})

test_that("a model that answers otherwise in the fresh process is refused", {
  before <- options(my_shift = 1)
  on.exit(options(before))
  shifted <- function(model, newdata) newdata$speed + getOption("my_shift", 0)
  expect_error(pack(NULL, cars, predict = shifted), "answers otherwise than in your session")
})

test_that("a model that cannot score its own sample is refused with R's reason and advice, and leaves no folder", {
  dir <- new_folder()
  fit <- lm(dist ~ speed, cars)
  expect_error(pack(fit, transform(cars, speed = factor(speed)), dir = dir), "cannot score its own sample")
  expect_error(pack(fit, data.frame(dist = 1), dir = dir), "uses \"speed\", which the sample does not have")
  expect_error(pack(NULL, cars, predict = function(model, newdata) 1, dir = dir), "1 values for the sample's 50 rows")
  expect_false(dir.exists(dir))
  expect_length(list.files(dirname(dir), "^[.]package-", all.files = TRUE), 0L)
})

test_that("rows with missing values that the model cannot take are left out of the proof", {
  sample <- transform(airquality, Month = factor(Month))
  set.seed(1)
  fit <- ranger::ranger(Temp ~ Wind + Month, sample, num.trees = 5, num.threads = 1)
  sample$Wind[1:3] <- NA
  dir <- new_folder()
  expect_match(said(package_model(fit, "air", "1", sample, dir)), "3 of 153 rows of the sample have missing values")
})

test_that("an earlier package is replaced, other folders and files are not", {
  dir <- pack(lm(dist ~ speed, cars), cars)
  pack(lm(dist ~ log(speed), cars), cars, dir = dir)
  expect_setequal(list.files(dir), c("manifest.json", "model.rds"))
  unlink(file.path(dir, "manifest.json"))
  expect_error(pack(lm(dist ~ speed, cars), cars, dir = dir), "is not a model package")
})

test_that("the session's random numbers stay where they were", {
  set.seed(5)
  expected <- runif(2)[2]
  set.seed(5)
  runif(1)
  pack(lm(dist ~ speed, cars), cars)
  expect_identical(runif(1), expected)
})

test_that("wrong arguments are refused before anything runs", {
  fit <- lm(dist ~ speed, cars)
  expect_error(pack(fit, cars, name = "Cars"), "lower-case")
  expect_error(pack(fit, cars, version = "v1"), "is not a version")
  expect_error(pack(fit, cars[0, ]), "some rows")
  expect_error(pack(fit, as.list(cars)), "must be a data.frame")
  expect_error(pack(fit, cars, predict = "no-such.R"), "predict must be")
  expect_error(pack(fit, cars, files = "x.R"), "give predict= too")
  expect_error(pack(loess(dist ~ speed, cars), cars, interval = "prediction"), "interval= is for lm")
  expect_error(pack(fit, cars, options = list(type = c("a", "b"))), "single texts")
  expect_error(pack(fit, cars, packages = "noSuchPackage"), "cannot load the package \"noSuchPackage\"")
  expect_error(pack(fit, cars, predict = function(m, d) 1, interval = "prediction"), "write them into it")
})

test_that("slimming is offered where it is worth it, and done where asked", {
  data <- data.frame(y = runif(5000), x = runif(5000))
  fit <- lm(y ~ x, data)
  expect_match(said(package_model(fit, "big", "1", data, new_folder())), "slim = TRUE leaves that out")
  dir <- new_folder()
  expect_match(said(package_model(fit, "big", "1", data, dir, slim = TRUE)), "its answers are identical")
  expect_lt(file.size(file.path(dir, "model.rds")), 5000)
  expect_identical(answers(dir, data)$prediction, unname(predict(fit, data)))
})

test_that("columns with odd names and text beyond ASCII go through", {
  sample <- stats::setNames(data.frame(a = c(1, 2, 3), b = c("x", "\u20ac", NA)), c("a b", "\u00fc"))
  dir <- pack(NULL, sample, predict = function(model, newdata) {
    stats::setNames(list(toupper(newdata[["\u00fc"]]), 2 * newdata[["a b"]]), c("\u00fc-out", "twice"))
  })
  expected <- stats::setNames(list(c("X", "\u20ac", NA), c(2, 4, 6)), c("\u00fc-out", "twice"))
  expect_identical(answers(dir, sample), expected)
})

inputs_of <- function(dir) vapply(read_manifest(dir)$signature$inputs, `[[`, "", "name")

test_that("a predict function for a model without terms takes the columns it names, and the note says so", {
  doubling <- function(x) 2 * x
  sample <- data.frame(y = c(1, 2), x = c(3, NA), z = c("a", "b"))
  dir <- new_folder()
  note <- said(package_model(doubling, "double", "1", sample, dir,
    predict = function(model, newdata) model(newdata$x)))
  expect_identical(inputs_of(dir), "x")
  expect_match(note, "takes \"x\", which its code names", fixed = TRUE)
  expect_identical(inputs_of(pack(doubling, sample, predict = function(model, newdata) model(newdata[["x"]]))), "x")
  expect_identical(inputs_of(pack(doubling, sample["x"], predict = function(model, newdata) model(newdata$x))), "x")
  expect_identical(inputs_of(pack(doubling, sample[2:1], predict = function(model, newdata) model(newdata$x),
    inputs = c("x", "y"))), c("x", "y"))
})

test_that("code that names columns and uses others too takes them all", {
  sums <- function(model, newdata) rowSums(newdata) - newdata$x
  expect_identical(inputs_of(pack(list(), data.frame(x = 1:3, y = 4:6, z = 7:9), predict = sums)), c("x", "y", "z"))
  namesake <- function(model, newdata) {
    x <- as.matrix(newdata)
    drop(x %*% model$weights)
  }
  expect_identical(inputs_of(pack(list(weights = 1:2), data.frame(x = 1:3, y = 4:6), predict = namesake)), c("x", "y"))
})

test_that("a level without an interval is refused, not ignored", {
  expect_error(pack(lm(dist ~ speed, cars), cars, level = 0.9), "give interval =", class = "scoregate_bad_argument")
})

test_that("a function is told to be packaged as one, unless predict= says what to do with it", {
  expect_error(package_model(function(x) x, "f", "1", sample = cars, dir = new_folder()), "package_function\\(\\)")
  folder <- new_folder()
  package_model(function(speed) 2 * speed, "f", "1", sample = cars["speed"], dir = folder, quiet = TRUE,
    predict = function(model, newdata) model(newdata$speed))
  expect_true(file.exists(file.path(folder, "manifest.json")))
})
