//! Samples of one kind, and what is said of them.

/// Figures in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// The smallest figure that so many of a thousand do not exceed; 0 of none.
    pub(crate) fn per_mille(&self, part: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() * part).div_ceil(1_000).max(1) - 1;
        sorted.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> f64 {
        self.per_mille(500)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.per_mille(990)
    }

    pub(crate) fn min(&self) -> f64 {
        self.per_mille(0)
    }

    pub(crate) fn max(&self) -> f64 {
        self.per_mille(1_000)
    }
}

/// A span in milliseconds.
pub(crate) fn ms(span: std::time::Duration) -> f64 {
    span.as_secs_f64() * 1_000.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_figures_that_were_measured() {
        let mut samples = Samples::default();
        assert_eq!((samples.median(), samples.max()), (0., 0.));
        for value in (1..=200).rev() {
            samples.push(f64::from(value));
        }
        assert_eq!(samples.median(), 100.);
        assert_eq!(samples.p99(), 198.);
        assert_eq!((samples.min(), samples.max()), (1., 200.));
    }
}
