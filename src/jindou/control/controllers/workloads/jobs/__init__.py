"""Jobs and CronJobs: work that ends, once or at the times of a schedule."""
