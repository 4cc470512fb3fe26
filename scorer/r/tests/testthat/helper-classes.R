# Data with every type of column, for the tests of the model classes.

typed <- local({
  set.seed(20)
  n <- 240L
  data <- data.frame(
    x = rnorm(n), z = runif(n, 1, 9), i = sample.int(20L, n, TRUE), l = rep(c(TRUE, FALSE, FALSE), n / 3L),
    f = factor(sample(c("low", "mid", "Zoo \u00e9"), n, TRUE), levels = c("mid", "low", "Zoo \u00e9")),
    o = factor(sample(c("S", "M", "L"), n, TRUE), levels = c("S", "M", "L"), ordered = TRUE),
    d = as.Date("2024-01-01") + sample.int(300L, n, TRUE),
    t = as.POSIXct("2024-01-01", tz = "UTC") + sample.int(30000000L, n, TRUE)
  )
  score <- data$x + 0.3 * data$z + data$l + (data$f == "low") + 0.4 * as.integer(data$o)
  data$y <- score + rnorm(n, sd = 0.3)
  data$two <- factor(ifelse(score + rnorm(n) > 3, "yes", "no"))
  data$three <- factor(c("c", "a", "b")[1L + (score + rnorm(n) > 2.4) + (score + rnorm(n) > 3.8)])
  data$count <- rpois(n, exp(0.2 * score))
  data$time <- rexp(n, exp(0.3 * score - 2))
  data$status <- rbinom(n, 1L, 0.8)
  data
})

#' The data with holes in the named columns, here and there.
holed <- function(columns, data = typed) {
  for (j in seq_along(columns)) data[[columns[j]]][seq(j, nrow(data), by = 7L + j)] <- NA
  data
}

#' Expect the answers of a package to be these vectors, to the bit (names and classes aside, factors as labels).
expect_answers <- function(dir, rows, expected) {
  model <- load_model_package(dir)
  got <- predict_rows(model, rebuild_rows(rows, model$signature$inputs))
  outputs <- model$signature$outputs
  testthat::expect_named(got, names(expected))
  for (field in outputs) {
    want <- expected[[field$name]]
    want <- if (is.factor(want)) match(as.character(want), field$levels) else as.vector(want)
    testthat::expect_identical(got[[field$name]], want, label = field$name)
  }
}

#' What the manifest says of missing values, by column.
missing_said <- function(dir) {
  inputs <- read_manifest(dir)$signature$inputs
  stats::setNames(vapply(inputs, `[[`, "", "missing"), vapply(inputs, `[[`, "", "name"))
}

#' Answers for complete rows put among NA for the others.
among_missing <- function(answer, complete) {
  all <- answer[rep(NA_integer_, length(complete))]
  all[complete] <- answer
  all
}
