# One model of each class, fitted on typed_rows(): a function that gives the model, and what package_model() is told
# beside it. The formulas hold every type of column that the class takes.

surv <- survival::Surv
every <- ~ x + z + i + l + f + o + nchar(s) + as.numeric(d) + I(as.numeric(t) / 1e9)
some <- ~ x + z + i + l + f + o + I(as.numeric(d) / 1e4) + I(as.numeric(t) / 1e9)
plain <- c("x", "z", "i", "l", "f", "o")
with_response <- function(response, right = every) {
  eval(call("~", substitute(response), right[[2L]]), globalenv())
}
quietly <- function(fit) utils::capture.output(fit)

fits <- list(
  lm = function(rows) list(stats::lm(with_response(y), rows), interval = "prediction"),
  glm = function(rows) list(stats::glm(with_response(two), stats::binomial(), rows)),
  rpart = function(rows) list(rpart::rpart(with_response(three, ~ x + z + i + l + f + o + d), rows)),
  multinom = function(rows) list(nnet::multinom(with_response(three, some), rows, trace = FALSE)),
  randomforest = function(rows) {
    list(randomForest::randomForest(three ~ x + z + i + l + f + o, rows, ntree = 40))
  },
  ranger = function(rows) {
    list(ranger::ranger(three ~ x + z + i + l + f + o, rows, num.trees = 40, probability = TRUE, num.threads = 1))
  },
  gam = function(rows) {
    list(mgcv::gam(two ~ s(x) + s(z, by = f) + s(i, k = 5) + l + o + nchar(s) + as.numeric(d) + as.numeric(t),
      stats::binomial(), rows))
  },
  bam = function(rows) {
    list(mgcv::bam(y ~ s(x) + te(z, i, k = 4) + l + f + o + nchar(s) + as.numeric(d), data = rows, discrete = TRUE,
      nthreads = 1))
  },
  nnet = function(rows) list(nnet::nnet(with_response(three, some), rows, size = 3, trace = FALSE)),
  glmnet = function(rows) {
    list(glmnet::glmnet(stats::model.matrix(~ ., rows[plain])[, -1L], rows$three, family = "multinomial"),
      inputs = plain, options = list(s = 0.02))
  },
  `cv-glmnet` = function(rows) {
    formula <- ~ x * f + z + i + l + o + nchar(s) + as.numeric(d)
    list(glmnet::cv.glmnet(stats::model.matrix(formula, rows)[, -1L], rows$two, family = "binomial", nfolds = 4),
      inputs = c(plain, "s", "d"), options = list(formula = paste(deparse(formula, 500L), collapse = "")))
  },
  gbm = function(rows) {
    list(gbm::gbm(with_response((two == "yes"), ~ x + z + i + f + o), "bernoulli", rows, n.trees = 60,
      interaction.depth = 3), options = list(n.trees = 50))
  },
  svm = function(rows) list(e1071::svm(with_response(three, some), rows, probability = TRUE)),
  `svm-regression` = function(rows) list(e1071::svm(with_response(y, some), rows)),
  naivebayes = function(rows) list(e1071::naiveBayes(three ~ x + z + i + l + f + o + s, rows)),
  ksvm = function(rows) list(kernlab::ksvm(with_response(three, some), rows, prob.model = TRUE)),
  coxph = function(rows) list(survival::coxph(with_response(surv(time, status), some), rows)),
  `coxph-survival` = function(rows) {
    list(survival::coxph(with_response(surv(time, status), some), rows, model = TRUE),
      options = list(times = c(0.5, 2, 10)))
  },
  survreg = function(rows) list(survival::survreg(with_response(surv(time, status), some), rows)),
  `survreg-survival` = function(rows) {
    list(survival::survreg(with_response(surv(time, status), some), rows), options = list(times = c(0.5, 2, 10)))
  },
  lda = function(rows) list(MASS::lda(with_response(three, some), rows)),
  qda = function(rows) list(MASS::qda(three ~ x + z + i + l, rows)),
  polr = function(rows) list(MASS::polr(with_response(o, ~ x + z + i + l + f + nchar(s)), rows)),
  `glm-nb` = function(rows) list(MASS::glm.nb(with_response(count, some), rows)),
  earth = function(rows) {
    list(earth::earth(three ~ x + z + i + l + f + o, rows, glm = list(family = stats::binomial)))
  },
  ctree = function(rows) {
    list(partykit::ctree(three ~ x + z + i + f + o, rows, control = partykit::ctree_control(majority = TRUE)))
  },
  nls = function(rows) {
    list(stats::nls(y ~ a + b * x + g[f] * z + h * l + k * as.numeric(d) + m * nchar(s), rows,
      start = list(a = 0, b = 1, g = rep(0.1, 3), h = 1, k = 0, m = 0)))
  },
  loess = function(rows) list(stats::loess(y ~ x + z + i, rows)),
  train = function(rows) {
    list(caret::train(with_response(three, some), rows, method = "svmRadial",
      trControl = caret::trainControl("none", classProbs = TRUE), tuneGrid = data.frame(sigma = 0.1, C = 1)))
  }
)
