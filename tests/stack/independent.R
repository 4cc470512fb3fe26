# R's own answers for the examples, in a session of its own that knows nothing of scoregate: it reads the published .rds and
# calls predict() as a modeller would.
#
#   Rscript --vanilla independent.R rows MODEL MODEL.rds OUT.json       first rows, as columns with every number %.17g
#   Rscript --vanilla independent.R identical MODEL MODEL.rds GOT.json  compares received columns with identical()
#
# GOT.json holds each double as the 16 hexadecimal digits of its bits, so nothing between Python and R rounds.

args <- commandArgs(trailingOnly = TRUE)
mode <- args[[1]]
model_name <- args[[2]]
model <- readRDS(args[[3]])

newdata <- switch(model_name,
  "boston-housing" = MASS::Boston[1:10, names(MASS::Boston) != "medv"],
  "iris-species" = iris[c(1:4, 51:54, 101:104), 1:4],
  "cars-interval" = data.frame(speed = cars$speed[seq(1, 50, by = 5)]),
  # Rows of our own in the model's columns: the last four lack something.
  "credit-default" = data.frame(
    amount = c(5000, 12345.67, 999.99, 1e5 / 3, 7200, 8000, 1234, 4321),
    income = c(30000, 1e5 / 7, 61234.5, 45000, NA, 52000, 48000, 41000),
    age = c(18L, 33L, 80L, 45L, 51L, NA, 29L, 62L),
    purpose = factor(c("car", "education", "home", "other", "car", "home", NA, "other"), levels = c("car", "education", "home", "other")),
    rating = factor(c("low", "fair", "good", "top", "low", "fair", "good", "top"), levels = c("low", "fair", "good", "top"), ordered = TRUE),
    owns_home = c(TRUE, FALSE, TRUE, FALSE, TRUE, FALSE, TRUE, NA),
    earlier_loans = c(0L, 1L, 2L, 3L, 4L, 5L, 6L, 0L),
    opened = as.Date("2020-02-28") + c(0, 1, 2, 100, 500, 1000, -700, 3)
  ),
  stop("no rows for ", model_name)
)

expected <- switch(model_name,
  "boston-housing" = {
    suppressMessages(library(randomForest))
    list(prediction = unname(predict(model, newdata)))
  },
  "iris-species" = {
    suppressMessages(library(nnet))
    prob <- predict(model, newdata, type = "probs")
    c(list(class = as.character(predict(model, newdata, type = "class"))),
      setNames(lapply(colnames(prob), function(k) unname(prob[, k])), paste0("prob.", colnames(prob))))
  },
  "cars-interval" = {
    interval <- predict(model, newdata, interval = "prediction")
    lapply(list(fit = "fit", lwr = "lwr", upr = "upr"), function(k) unname(interval[, k]))
  },
  "credit-default" = list(prediction = unname(predict(model, newdata, type = "response")))
)

quoted <- function(text) paste0("\"", gsub("([\"\\\\])", "\\\\\\1", text), "\"")
number <- function(x) ifelse(is.na(x), "null", sprintf("%.17g", x))
as_json <- function(column) {
  cells <- if (is.factor(column) || is.character(column)) {
    ifelse(is.na(column), "null", quoted(as.character(column)))
  } else if (is.logical(column)) {
    ifelse(is.na(column), "null", tolower(as.character(column)))
  } else if (inherits(column, "Date")) {
    ifelse(is.na(column), "null", quoted(format(column)))
  } else {
    number(column)
  }
  paste0("[", paste(cells, collapse = ","), "]")
}
bits <- function(x) {
  vapply(x, function(v) paste(rev(as.character(writeBin(as.double(v), raw(), endian = "little"))), collapse = ""), "")
}

if (mode == "rows") {
  fields <- paste0(quoted(names(newdata)), ":", vapply(newdata, as_json, ""))
  writeLines(paste0("{", paste(fields, collapse = ","), "}"), args[[4]])
} else {
  got <- jsonlite::fromJSON(args[[4]], simplifyVector = FALSE)
  ok <- identical(sort(names(got)), sort(names(expected)))
  for (name in names(expected)) {
    want <- expected[[name]]
    have <- unlist(lapply(got[[name]], function(v) if (is.null(v)) NA else v))
    if (is.double(want)) {
      # JSON has one null for NA and NaN: where a value is missing it must be missing, elsewhere every bit counts.
      same <- identical(is.na(want), is.na(have)) && identical(bits(want[!is.na(want)]), as.character(have[!is.na(have)]))
    } else {
      same <- identical(want, have)
    }
    if (!same) cat("differs:", name, "\n")
    ok <- ok && same
  }
  cat(if (ok) "identical" else "different", length(expected[[1]]), "rows\n")
}
